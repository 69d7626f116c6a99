"""Models as OpenAI shows them, under every name they have, and their end."""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from core.accounts.service import ensure_project
from core.db import get_database
from core.jobs.models import Job
from tests.api.belongings import own_one_of_each

TUNED = "ft:tiny:ours:theirs:job_1"


@pytest.fixture
def ids(client: TestClient) -> dict[str, str]:
    """One of each thing, and no job that has not ended."""
    with get_database().transaction() as session:
        ids = own_one_of_each(session, ensure_project(session, "ours"))
        session.execute(update(Job).values(status="succeeded"))
    return ids


def test_models_are_listed_under_every_name(client: TestClient, ids: dict[str, str]) -> None:
    listed = {row["id"]: row for row in client.get("/v1/models").json()["data"]}
    assert {name: (row["kind"], row["address"]) for name, row in listed.items()} == {
        "tiny": ("base", "tiny"),
        "theirs:1": ("adapter", "theirs:1"),
        "theirs@production": ("adapter", "theirs:1"),
        TUNED: ("adapter", "theirs:1"),
        "merged": ("merged", "merged"),
    }
    for name, row in listed.items():
        assert {"id", "object", "created", "owned_by"} < row.keys()
        assert (row["object"], type(row["created"])) == ("model", int)
        assert client.get(f"/v1/models/{name}").json() == row


def test_a_models_id_may_arrive_percent_encoded(client: TestClient, ids: dict[str, str]) -> None:
    for given, name in {
        "theirs%3A1": "theirs:1",
        "theirs%40production": "theirs@production",
        TUNED.replace(":", "%3A"): TUNED,
    }.items():
        assert client.get(f"/v1/models/{given}").json()["id"] == name


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("name", ["Some%2FModel", "theirs:2", "theirs@x", "ft:a:b:c:job_none"])
def test_a_model_that_is_not_there_is_a_404(
    client: TestClient, ids: dict[str, str], method: str, name: str
) -> None:
    answer = client.request(method, f"/v1/models/{name}")
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert error["message"].startswith("There is no ")


def test_models_go_in_the_order_in_which_they_are_needed(
    client: TestClient, ids: dict[str, str]
) -> None:
    for name, why in {"theirs:1": "theirs@production", "theirs@production": "stands for"}.items():
        answer = client.delete(f"/v1/models/{name}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "model_in_use")
        assert why in answer.json()["error"]["message"]
    assert client.delete("/v1/adapters/theirs/aliases/production").status_code == 200
    assert "merged" in client.delete(f"/v1/models/{TUNED}").json()["error"]["message"]
    for name in ("merged", TUNED):
        done = client.delete(f"/v1/models/{name}").json()
        assert done == {"id": name, "object": "model", "deleted": True}
    assert [row["id"] for row in client.get("/v1/models").json()["data"]] == ["tiny"]


def test_a_base_model_is_not_ones_own_to_delete(client: TestClient, ids: dict[str, str]) -> None:
    answer = client.delete("/v1/models/tiny")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "base_model")
    assert client.get("/v1/models/tiny").status_code == 200
