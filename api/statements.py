"""Statements on registered databases, asked by any route: a few at a time in this process."""

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import Request

AT_ONCE = 4
"""Statements that run at a time: each is a process of its own, and has up to half a GiB."""

Result = TypeVar("Result")


async def run_statement(request: Request, work: Callable[..., Result], *args: object) -> Result:
    """Do this work in a thread in its turn. The threads that all other routes share are not held
    meanwhile, by those that wait either."""
    return await run_sync(work, *args, limiter=_limiter(request))


def _limiter(request: Request) -> CapacityLimiter:
    """Of this application: one made at import would belong to no event loop."""
    state = request.app.state
    if not hasattr(state, "statements"):
        state.statements = CapacityLimiter(AT_ONCE)
    return state.statements
