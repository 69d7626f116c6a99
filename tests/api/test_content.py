"""While the storage is asked for a file, which may take its time, no connection is held."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from core.accounts.service import ensure_project
from core.datasets.models import Dataset
from core.db import get_database
from core.storage import Storage, get_storage
from tests.api.belongings import own_one_of_each

pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@pytest.fixture
def ids(client: TestClient, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "info").write_text('{"kind": "sql", "dialect": "sqlite"}')
    get_storage().put(tmp_path / "info", "s/dataset.json")
    with get_database().transaction() as session:
        ids = own_one_of_each(session, ensure_project(session, "ours"))
        session.get_one(Dataset, "ds_1").splits = {"train": 100, "validation": 10}
        return ids


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many connections were in use at each look at the storage."""
    seen: list[int] = []

    def watched(look: Callable[..., Any]) -> Callable[..., Any]:
        def watching(*args: Any) -> Any:
            seen.append(get_database().engine.pool.checkedout())
            return look(*args)

        return watching

    for name in ("open", "fetch", "fault_in"):
        monkeypatch.setattr(Storage, name, watched(getattr(Storage, name)))
    return seen


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/files/{file_id}/content"),
        ("GET", "/v1/artifacts/{artifact_id}/content"),
        ("GET", "/v1/adapters/theirs:1/download"),
        ("POST", "/v1/estimates"),
    ],
)
def test_no_connection_is_held_while_the_storage_is_asked(
    client: TestClient, ids: dict[str, str], held: list[int], method: str, path: str
) -> None:
    asked = {"params": {"model": "tiny", "dataset": "pairs"}}
    json = asked if method == "POST" else None
    answer = client.request(method, path.format(**ids), json=json)
    assert answer.status_code < 500, answer.text
    assert held and set(held) == {0}
