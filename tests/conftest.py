"""Servers shared by a whole test run; each starts when the first test asks for it."""

import os
from collections.abc import Iterator

import pytest

from tests.servers import new_postgres_database, postgres_server, valkey_server

# As in a runner's environment, and like there before torch is imported: threads that spin while
# they wait make everything else on two cores several times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """The URL of one Valkey for the whole run; keys of other tests may lie in it."""
    with valkey_server() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_server_url() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server_url: str) -> str:
    """The URL of a fresh, empty PostgreSQL database."""
    return new_postgres_database(postgres_server_url)
