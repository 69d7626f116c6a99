"""Servers shared by a whole test run; each starts when the first test asks for it."""

import os
from collections.abc import Iterator

import pytest

from tests.servers import (
    S3Server,
    drop_postgres_database,
    new_postgres_database,
    postgres_server,
    s3_server,
    valkey_server,
)
from tests.targets import TargetServer, target_postgres
from workers.openmp import OPENMP

# As in a runner's environment, and like there before torch is imported.
for name, value in OPENMP.items():
    os.environ.setdefault(name, value)
# The tests' models are tiny: two threads take longer than one, and a second process has a core too.
os.environ.setdefault("OMP_NUM_THREADS", "1")


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
def postgres_url(postgres_server_url: str) -> Iterator[str]:
    """The URL of a fresh, empty PostgreSQL database."""
    url = new_postgres_database(postgres_server_url)
    yield url
    drop_postgres_database(url)


@pytest.fixture(scope="session")
def target_server() -> Iterator[TargetServer]:
    """A PostgreSQL for databases that questions are about: by network and password."""
    with target_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def s3_storage() -> Iterator[S3Server]:
    """One S3 for the whole run, known to this process and to those that it starts.

    Take a storage of it by `s3_storage.new_url()`.
    """
    before = dict(os.environ)
    with s3_server() as server:
        os.environ.update(server.env)
        yield server
    for name in server.env:
        os.environ.pop(name)
        if name in before:
            os.environ[name] = before[name]
