"""Projects: the operator makes them and sets their quotas, their administrators see their own."""

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import make_key, statements

LINE = b'{"question": "How many?", "sql": "SELECT 1"}\n'


@pytest.fixture
def operator(client: TestClient) -> TestClient:
    other = TestClient(client.app, raise_server_exceptions=False)
    other.headers["authorization"] = f"Bearer {make_key('default', 'admin')}"
    return other


def upload(client: TestClient):
    form = {"files": {"file": ("a.jsonl", LINE)}, "data": {"purpose": "fine-tune"}}
    return client.post("/v1/files", **form)


def test_the_operator_makes_a_project_whose_first_key_administers_it(operator: TestClient) -> None:
    made = operator.post("/v1/projects", json={"name": "team-a"})
    assert made.status_code == 201, made.text
    team = TestClient(operator.app, raise_server_exceptions=False)
    team.headers["authorization"] = f"Bearer {made.json()['key']['secret']}"
    (own,) = team.get("/v1/projects").json()["data"]
    assert (own["id"], own["name"]) == (made.json()["id"], "team-a")
    assert team.post("/v1/keys", json={"name": "k", "scopes": ["write"]}).status_code == 201
    assert len(operator.get("/v1/projects").json()["data"]) == 3
    again = operator.post("/v1/projects", json={"name": "team-a"})
    assert (again.status_code, again.json()["error"]["code"]) == (400, "name_taken")


def test_nobody_else_makes_projects_or_sets_quotas(client: TestClient) -> None:
    (own,) = client.get("/v1/projects").json()["data"]
    for answer in (
        client.post("/v1/projects", json={"name": "team-a"}),
        client.post(f"/v1/projects/{own['id']}", json={"quotas": {}}),
    ):
        assert answer.status_code == 403, answer.text


def test_a_full_quota_is_a_429_that_no_sdk_waits_for(
    client: TestClient, operator: TestClient
) -> None:
    (own,) = client.get("/v1/projects").json()["data"]
    path = f"/v1/projects/{own['id']}"
    quotas = {"queued_jobs": 1, "storage_bytes": len(LINE) * 2}
    set_ = operator.post(path, json={"quotas": quotas})
    assert set_.json()["quotas"] == quotas | {"running_jobs": None}

    file = upload(client).json()["id"]
    assert upload(client).status_code == 200
    jobs = [
        client.post("/v1/jobs", json={"type": "prepare", "params": {"name": name, "file": file}})
        for name in ("a", "b")
    ]
    assert jobs[0].status_code == 202
    for refused in (upload(client), jobs[1]):
        assert refused.status_code == 429, refused.text
        assert refused.json()["error"]["code"] == "quota_exceeded"
        assert int(refused.headers["retry-after"]) > 120
    usage = client.get(path).json()["usage"]
    assert usage == {"queued_jobs": 1, "running_jobs": 0, "storage_bytes": len(LINE) * 2}
    operator.post(path, json={"quotas": {}})
    assert upload(client).status_code == 200


def test_a_list_of_projects_asks_no_more_for_many_than_for_one(operator: TestClient) -> None:
    def asked(limit: int) -> int:
        with statements() as seen:
            answer = operator.get("/v1/projects", params={"limit": limit})
        assert len(answer.json()["data"]) == limit
        return len(seen)

    for number in range(5):
        operator.post("/v1/projects", json={"name": f"team-{number}"})
    assert asked(6) == asked(1)
