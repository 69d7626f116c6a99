"""When this process is told to stop: whoever is being answered without end is told, not cut off.

A server waits for open answers before it tells the application so; a stream is one that does not
end by itself. Knows no resource.
"""

import asyncio
import signal
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from api.gone import end
from core.errors import Unavailable

Piece = TypeVar("Piece")
LOOK_SECONDS = 0.5


@contextmanager
def closing_by_signal(closing: threading.Event) -> Iterator[None]:
    """Set `closing` when this process is told to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    servers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    heeded = {number: handler for number, handler in servers.items() if callable(handler)}

    def close(number: int, frame: FrameType | None) -> None:
        closing.set()
        heeded[number](number, frame)

    for number in heeded:
        signal.signal(number, close)
    try:
        yield
    finally:
        for number, handler in heeded.items():
            signal.signal(number, handler)


async def until_closing(
    closing: threading.Event, pieces: AsyncGenerator[Piece]
) -> AsyncGenerator[Piece]:
    """The pieces as they come; `Unavailable` when this process is told to stop in between."""
    while True:
        upcoming = asyncio.ensure_future(anext(pieces))
        try:
            while not (closing.is_set() or upcoming.done()):
                await asyncio.wait({upcoming}, timeout=LOOK_SECONDS)
            if not upcoming.done():
                raise Unavailable("The API is being restarted; ask again.", code="api_stopping")
            yield upcoming.result()
        except StopAsyncIteration:
            return
        finally:
            await end(upcoming)
