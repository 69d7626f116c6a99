"""Both sides of the streams on a real Valkey: one that asks, one that would answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from core.ids import new_id
from core.serving.client import Client
from core.serving.connection import connect, connect_async
from core.serving.exchange import Exchange
from core.serving.places import Place
from tests.core.adapters.conftest import making  # noqa: F401 - a fixture
from tests.platform import environment


@pytest.fixture
def place(valkey_url: str, tmp_path: Path) -> Iterator[Place]:
    """A model's address that no other test uses."""
    with environment(data_dir=str(tmp_path), broker_url=valkey_url):
        yield Place(f"models/{new_id('test')}")


@pytest.fixture
def exchange(place: Place) -> Iterator[Exchange]:
    """A server's side, not open yet."""
    made = Exchange(connect(), server=place.server)
    yield made
    made.close()


@asynccontextmanager
async def a_client() -> AsyncIterator[Client]:
    client = Client(connect_async())
    try:
        yield client
    finally:
        await client.close()


async def nothing() -> None:
    """Of a server that is not there nothing is known here."""


def with_client(work: Callable[[Client], Awaitable[Any]]) -> Any:
    """Run `work` in a loop with a client of its own."""

    async def main() -> Any:
        async with a_client() as client:
            return await work(client)

    return asyncio.run(main())
