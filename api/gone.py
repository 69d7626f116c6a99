"""Work for a caller who may go away before it is done. Knows no resource."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from anyio import CancelScope
from fastapi import Request
from fastapi.responses import Response
from starlette.requests import ClientDisconnect

Found = TypeVar("Found")
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
        await end(leaving)
        await end(working)


def nobody_left() -> Response:
    return Response(status_code=GONE)


async def end(task: asyncio.Future) -> None:
    """Cancel it, and wait until it is gone, also where this task is being cancelled itself."""
    task.cancel()
    with CancelScope(shield=True):
        await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # nobody is left to hear it; unasked, asyncio would log it


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
