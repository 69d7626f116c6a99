"""Work that may take its time, in threads of its own kind: a few at a time in this process.

The threads that all other routes share, and that tell who asks, are not held meanwhile, by what
waits for its turn either.
"""

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import Request

STATEMENTS = 4
"""Statements on registered databases at a time: each is a process, and has up to half a GiB."""
CONTACTS = 4
"""Hosts of a caller's choosing that are looked at at a time: each may let one wait for a minute."""

Result = TypeVar("Result")


async def run_statement(request: Request, work: Callable[..., Result], *args: object) -> Result:
    """Do this work on a registered database in its turn."""
    return await run_sync(work, *args, limiter=_limiter(request, "statements", STATEMENTS))


async def run_contact(request: Request, work: Callable[..., Result], *args: object) -> Result:
    """Do this work, which speaks to a host that a caller named, in its turn."""
    return await run_sync(work, *args, limiter=_limiter(request, "contacts", CONTACTS))


def _limiter(request: Request, kind: str, at_once: int) -> CapacityLimiter:
    """Of this application: one made at import would belong to no event loop."""
    state = request.app.state
    if not hasattr(state, kind):
        setattr(state, kind, CapacityLimiter(at_once))
    return getattr(state, kind)
