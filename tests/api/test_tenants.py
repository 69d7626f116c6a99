"""Nobody reaches what is not theirs: another project's id is a 404, as if it were not there."""

import pytest
from fastapi.testclient import TestClient

from core.accounts.service import ensure_project
from core.db import get_database
from core.jobs.models import Job
from tests.api.belongings import own_one_of_each
from tests.api.document import v1_routes

LISTS = [
    "files",
    "databases",
    "datasets",
    "jobs",
    "adapters",
    "evaluations",
    "merges",
    "fine_tuning/jobs",
    "batches",
    "webhook_endpoints",
]
BYTES = ("/content", "/examples", "/download")
"""What these show lies in the storage, of which there is none here."""


@pytest.fixture
def ids(client: TestClient) -> dict[str, str]:
    """Ids of the things of project `ours`, which `client` may see and `stranger` may not."""
    with get_database().transaction() as session:
        return own_one_of_each(session, ensure_project(session, "ours"))


def test_another_projects_id_is_a_404_on_every_route(
    client: TestClient, stranger: TestClient, ids: dict[str, str]
) -> None:
    asked = 0
    for route in v1_routes(client.app):
        if "{" not in route.path:
            continue
        answer = stranger.request(route.method, route.url(ids), json=route.body)
        assert answer.status_code == 404, f"{route}: {answer.text}"
        assert answer.json()["error"]["message"].startswith("There is no ")
        asked += 1
    assert asked > 40
    with get_database().reading() as session:
        assert session.get_one(Job, ids["job_id"]).cancel_requested_at is None


def test_the_same_ids_are_there_for_their_own_project(
    client: TestClient, ids: dict[str, str]
) -> None:
    for route in v1_routes(client.app):
        if "{" in route.path and route.method == "GET" and not route.path.endswith(BYTES):
            answer = client.get(route.url(ids))
            assert answer.status_code == 200, f"{route}: {answer.text}"


def test_a_list_shows_ones_own_project_alone(
    client: TestClient, stranger: TestClient, ids: dict[str, str]
) -> None:
    for name in LISTS:
        assert client.get(f"/v1/{name}").json()["data"] != [], name
        assert stranger.get(f"/v1/{name}").json()["data"] == [], name


def test_models_of_another_project_are_not_listed(
    client: TestClient, stranger: TestClient, ids: dict[str, str]
) -> None:
    names = [model["id"] for model in stranger.get("/v1/models").json()["data"]]
    assert names == ["tiny"]
    own = [model["id"] for model in client.get("/v1/models").json()["data"]]
    assert {"tiny", "theirs:1", "theirs@production", "merged"} < set(own)


@pytest.mark.parametrize(
    ("type", "params"),
    [
        ("train", {"model": "tiny", "dataset": "pairs"}),
        ("train", {"model": "tiny", "dataset": "ds_1"}),
        ("evaluate", {"model": "tiny", "dataset": "pairs"}),
        ("merge", {"adapter": "theirs:1"}),
        ("generate", {"model": "theirs:1", "questions": ["?"]}),
        ("generate", {"model": "tiny", "database": "shop", "questions": ["?"]}),
        ("generate", {"model": "tiny", "file": "file_1"}),
    ],
)
def test_a_job_cant_name_a_thing_of_another_project(
    stranger: TestClient, ids: dict[str, str], type: str, params: dict
) -> None:
    answer = stranger.post("/v1/jobs", json={"type": type, "params": params})
    assert answer.status_code in (400, 404), answer.text
    named = {*ids.values(), "pairs", "shop"} & {str(value) for value in params.values()}
    assert any(name in answer.json()["error"]["message"] for name in named)
    assert stranger.get("/v1/jobs").json()["data"] == []
