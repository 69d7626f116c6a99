"""A server in a thread of the test, with a real Valkey between it and those that ask."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.ids import new_id
from core.serving.client import Client
from core.serving.connection import connect_async
from core.serving.places import Place
from core.serving.wire import Chat, End, Request, Sql, Text, Usage
from workers.context import LocalContext, Stopped
from workers.ml.engine import Engine
from workers.recipes import serve
from workers.serving.server import Server

PARAMS = {
    "quantization": "none",
    "precision": "fp32",
    "max_adapters": 2,
    "yield_policy": "never",
    "idle_seconds": 1000.0,
    "max_idle_seconds": None,
}


_serve = serve.serve


def _noting(ctx: LocalContext, server: Server) -> str:
    ctx.working.set_result(server)
    return _serve(ctx, server)


serve.serve = _noting  # so that a test sees the engine of a server that runs


class Running:
    """`ended`: what the recipe returned or raised."""

    def __init__(self, folder: Path, model: Path, **params: Any) -> None:
        self.place = Place(params.pop("address", f"models/{new_id('test')}"))
        params = PARAMS | {"address": self.place.server} | params
        self.ctx = LocalContext(params, {"model": model}, folder)
        self.ctx.working = Future()
        self.ended: Any = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.ended = serve.run(self.ctx)
        except BaseException as error:
            self.ended = error

    @property
    def engine(self) -> Engine:
        return self.ctx.working.result(timeout=20).engine

    def stop(self, reason: str = "drain") -> Any:
        self.ctx.stop = reason
        return self.join()

    def join(self) -> Any:
        self.thread.join(timeout=60)
        assert not self.thread.is_alive()
        return self.ended

    @property
    def done(self) -> dict[str, int]:
        """What it has written down of its work."""
        return self.ctx.rows[0]


@contextmanager
def running(folder: Path, model: Path, **params: Any) -> Iterator[Running]:
    """A server that takes requests; it is drained at the end, if it has not ended by itself."""
    server = Running(folder, model, **params)
    server.thread.start()
    deadline = time.monotonic() + 60
    while not ask(lambda client: client.is_ready(server.place.server)):
        assert server.thread.is_alive() and time.monotonic() < deadline, server.ended
        time.sleep(0.05)
    try:
        yield server
    finally:
        ended = server.stop()
        if isinstance(ended, BaseException) and not isinstance(ended, Stopped):
            raise ended


def ask(work: Callable[[Client], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        client = Client(connect_async())
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(main())


async def nothing() -> None:
    """To see to it that a server comes up is not this test's business."""


def chat(text: str, *, max_tokens: int = 12, **how: Any) -> Request:
    return Request(Chat([{"role": "user", "content": text}]), max_tokens=max_tokens, **how)


def sql(question: str, *, max_tokens: int = 12, **how: Any) -> Request:
    return Request(Sql(question, **how), max_tokens=max_tokens)


async def answer_of(client: Client, place: Place, request: Request) -> tuple[list[str], Usage]:
    """The texts of its answers, and what they took."""
    texts = [""] * request.n
    async with client.ask(place, request, nothing) as answer:
        async for event in answer:
            if isinstance(event, Text | End):
                texts[event.index] += event.text
            else:
                return texts, event
    raise AssertionError("the answer had no end")
