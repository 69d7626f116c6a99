"""Work for a caller who may go away before it is done. Knows no resource."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from fastapi import Request
from fastapi.responses import Response
from starlette.requests import ClientDisconnect

Found = TypeVar("Found")
CANCEL_AGAIN_SECONDS = 0.1
GONE = 499
"""Nobody reads this answer; the log has the word that nginx has for it."""


async def unless_gone(request: Request, work: Awaitable[Found]) -> Found:
    """What the work brings. If the caller goes away first it is cancelled, and this raises
    `ClientDisconnect`. For requests whose body has been read."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        await _end(leaving)
        await _end(working)


def nobody_left() -> Response:
    return Response(status_code=GONE)


async def _end(task: asyncio.Future) -> None:
    """Cancel it until it is done. Once is not enough: before Python 3.12 `asyncio.wait_for`, by
    which redis-py sends, loses a cancellation that comes in the moment in which it is through."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_AGAIN_SECONDS)
    if not task.cancelled():
        task.exception()  # nobody is left to hear it; unasked, asyncio would log it


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
