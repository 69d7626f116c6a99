"""The API over a migrated database, with a key; no server and no worker behind it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from core.accounts.service import create_key, ensure_project
from core.basemodels.service import record_base
from core.db import get_database
from tests.platform import environment, migrate

TINY = {
    "name": "tiny",
    "parameters": 1_000_000,
    "architecture": "LlamaForCausalLM",
    "context_length": 2048,
    "licence": "none",
}


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "tuneyard.db"
    with environment(data_dir=str(path.parent), database_url=f"sqlite:///{path}"):
        migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def data_dir(tmp_path: Path, template: Path) -> Iterator[Path]:
    shutil.copyfile(template, tmp_path / "tuneyard.db")
    with environment(data_dir=str(tmp_path), broker_url="redis://127.0.0.1:1/0"):
        with get_database().transaction() as session:
            record_base(session, TINY)
        yield tmp_path


def make_key(project: str, *scopes: str) -> str:
    with get_database().transaction() as session:
        return create_key(session, ensure_project(session, project), name="t", scopes=scopes)[1]


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
