"""The API over a migrated database, with a key; no server and no worker behind it.

Every test runs on SQLite and on PostgreSQL: what is refused, and how, must not depend on it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event

from api.app import create_app
from core.accounts.service import create_key, ensure_project
from core.basemodels.service import record_base
from core.db import Database, get_database
from core.settings import get_settings
from tests.api.served import api_on_a_port
from tests.core.conftest import database, postgres_template, sqlite_template

__all__ = ["database", "postgres_template", "sqlite_template"]

TINY = {
    "name": "tiny",
    "parameters": 1_000_000,
    "architecture": "LlamaForCausalLM",
    "context_length": 2048,
    "licence": "none",
}


@pytest.fixture
def data_dir(database: Database, tmp_path: Path) -> Path:
    with database.transaction() as session:
        record_base(session, TINY)
    return tmp_path


def make_key(project: str, *scopes: str) -> str:
    with get_database().transaction() as session:
        return create_key(session, ensure_project(session, project), name="t", scopes=scopes)[1]


@contextmanager
def statements() -> Iterator[list[str]]:
    """Those that are put to the database meanwhile."""
    seen: list[str] = []

    def see(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(get_database().engine, "before_cursor_execute", see)
    try:
        yield seen
    finally:
        event.remove(get_database().engine, "before_cursor_execute", see)


@pytest.fixture
def anonymous(data_dir: Path) -> Iterator[TestClient]:
    with TestClient(create_app(), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(anonymous: TestClient) -> TestClient:
    anonymous.headers["authorization"] = f"Bearer {make_key('ours', 'admin')}"
    return anonymous


@pytest.fixture
def stranger(client: TestClient) -> TestClient:
    """A good key of another project."""
    other = TestClient(client.app, raise_server_exceptions=False)
    other.headers["authorization"] = f"Bearer {make_key('theirs', 'admin')}"
    return other


@pytest.fixture
def redis(valkey_url: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis for what goes to a server of a model; without it there is none."""
    monkeypatch.setenv("TUNEYARD_REDIS_URL", valkey_url)
    get_settings.cache_clear()


@pytest.fixture
def http(redis: None) -> Iterator[httpx.Client]:
    """A client of the API on a port, with a key that may only read."""
    headers = {"authorization": f"Bearer {make_key('ours', 'read')}"}
    with (
        api_on_a_port() as url,
        httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as client,
    ):
        yield client
