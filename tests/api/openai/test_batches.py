"""`/v1/batches` over HTTP: what is refused at once, what is recorded as failed, pages, cancel."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from core.batches.finishing import finish_batches
from core.db import get_database
from core.jobs import service as jobs
from core.jobs.models import Job
from tests.core.batches.test_lines import ASKED, BODY, CHAT, SQL, line

FIELDS = {
    *("id", "object", "endpoint", "model", "errors", "input_file_id", "completion_window"),
    *("status", "output_file_id", "error_file_id", "created_at", "in_progress_at", "expires_at"),
    *("finalizing_at", "completed_at", "failed_at", "expired_at", "cancelling_at"),
    *("cancelled_at", "request_counts", "usage", "metadata"),
}


def upload(client: TestClient, *lines: Any, purpose: str = "batch") -> str:
    texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
    file = ("batch.jsonl", ("\n".join(texts) + "\n").encode())
    answer = client.post("/v1/files", files={"file": file}, data={"purpose": purpose})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def make(client: TestClient, file_id: str, **changes: Any):
    body = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h", **changes}
    return client.post("/v1/batches", json=body)


@pytest.fixture
def file_id(client: TestClient) -> str:
    return upload(client, line("a"), line("b"))


def test_a_batch_is_a_job_under_one_id(client: TestClient, file_id: str) -> None:
    made = make(client, file_id, metadata={"team": "数据"})
    assert made.status_code == 200, made.text
    batch = made.json()
    assert set(batch) == FIELDS
    assert (batch["object"], batch["status"], batch["model"]) == ("batch", "validating", "tiny")
    assert batch["request_counts"] == {"total": 2, "completed": 0, "failed": 0}
    assert batch["expires_at"] - batch["created_at"] in (86399, 86400, 86401)
    assert batch["metadata"] == {"team": "数据"}
    job = client.get(f"/v1/jobs/{batch['id']}").json()
    assert (job["type"], job["status"]) == ("generate", "queued")
    assert job["params"]["file"] == file_id


def test_bad_lines_make_a_failed_batch_that_names_them(client: TestClient) -> None:
    file_id = upload(client, line("a"), line("a"), "broken", line("c", url=SQL))
    batch = make(client, file_id).json()
    assert batch["status"] == "failed"
    assert batch["failed_at"] is not None
    assert batch["in_progress_at"] is None
    assert [(one["line"], one["code"]) for one in batch["errors"]["data"]] == [
        (2, "duplicate_custom_id"),
        (3, "invalid_json_line"),
        (4, "invalid_url"),
    ]
    assert (batch["errors"]["object"], batch["errors"]["total"]) == ("list", 3)
    assert client.get(f"/v1/batches/{batch['id']}").json() == batch
    job = client.get(f"/v1/jobs/{batch['id']}").json()
    assert (job["status"], job["error"]["class"], job["attempt"]) == ("failed", "data", 0)


def test_a_batch_that_was_refused_for_its_file_is_not_run_by_a_retry(client: TestClient) -> None:
    """A worker does not look again at what a line asks for."""
    batch = make(client, upload(client, line("a"), line("a"))).json()
    refused = client.post(f"/v1/jobs/{batch['id']}/retry")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "job_not_retryable")
    assert "mend the file" in refused.json()["error"]["message"]


def test_a_model_or_database_that_is_not_there_is_named_with_the_line(client: TestClient) -> None:
    file_id = upload(client, line("a", body=BODY | {"model": "nope"}))
    [error] = make(client, file_id).json()["errors"]["data"]
    assert (error["code"], error["line"], error["param"]) == ("model_not_found", 1, "body.model")
    file_id = upload(client, line("a", url=SQL, body=ASKED))
    [error] = make(client, file_id, endpoint=SQL).json()["errors"]["data"]
    assert (error["code"], error["param"]) == ("database_not_found", "body.database")


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (r"a\u0000", ("invalid_json_line", 1, None)),
        (r"a\\u0000", ("model_not_found", 1, "body.model")),
        (r"a\\\u0000", ("invalid_json_line", 1, None)),
    ],
)
def test_a_nul_is_named_with_its_line_and_a_backslash_before_u0000_is_none(
    client: TestClient, model: str, found: tuple
) -> None:
    file_id = upload(client, json.dumps(line("a")).replace('"tiny"', f'"{model}"'))
    answer = make(client, file_id)
    assert answer.status_code == 200, answer.text
    [error] = answer.json()["errors"]["data"]
    assert (error["code"], error["line"], error["param"]) == found


@pytest.mark.parametrize(
    "changes, status, param",
    [
        ({"input_file_id": "file_none"}, 404, "input_file_id"),
        ({"endpoint": "/v1/embeddings"}, 400, "endpoint"),
        ({"completion_window": "8d"}, 400, "completion_window"),
        ({"completion_window": "999h"}, 400, "completion_window"),
        ({"metadata": {"k": 1}}, 400, "metadata.k"),
        ({"metadata": {str(n): "" for n in range(17)}}, 400, "metadata"),
        (
            {"output_expires_after": {"anchor": "created_at", "seconds": 5}},
            400,
            "output_expires_after.seconds",
        ),
        ({"priority": 5}, 400, "priority"),
    ],
)
def test_what_is_no_batch_is_refused_with_the_field(
    client: TestClient, file_id: str, changes: dict, status: int, param: str
) -> None:
    answer = make(client, file_id, **changes)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["param"] == param
    assert client.get("/v1/batches").json()["data"] == []


def test_a_file_of_another_purpose_is_refused(client: TestClient) -> None:
    answer = make(client, upload(client, line("a"), purpose="user_data"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_purpose")


def test_pages_hold_batches_alone_newest_first(client: TestClient, file_id: str) -> None:
    ids = [make(client, file_id).json()["id"] for _ in range(3)]
    client.post(
        "/v1/jobs",
        json={"type": "generate", "params": {"model": "tiny", "questions": ["How many?"]}},
    )
    first = client.get("/v1/batches", params={"limit": 2}).json()
    assert [one["id"] for one in first["data"]] == [ids[2], ids[1]]
    assert first["has_more"] is True
    rest = client.get("/v1/batches", params={"after": first["last_id"]}).json()
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == ([ids[0]], False)
    assert client.get("/v1/batches", params={"limit": 101}).status_code == 400


def test_a_job_that_is_no_batch_is_none(client: TestClient) -> None:
    submitted = client.post(
        "/v1/jobs",
        json={"type": "generate", "params": {"model": "tiny", "questions": ["How many?"]}},
    )
    assert client.get(f"/v1/batches/{submitted.json()['id']}").status_code == 404


def test_a_strangers_batch_is_not_there(
    client: TestClient, stranger: TestClient, file_id: str
) -> None:
    batch_id = make(client, file_id).json()["id"]
    assert stranger.get(f"/v1/batches/{batch_id}").status_code == 404
    assert stranger.post(f"/v1/batches/{batch_id}/cancel").status_code == 404
    assert make(stranger, file_id).status_code == 404
    assert stranger.get("/v1/batches").json()["data"] == []


def test_a_cancelled_batch_has_its_files_soon_after(client: TestClient, file_id: str) -> None:
    batch_id = make(client, file_id).json()["id"]
    batch = client.post(f"/v1/batches/{batch_id}/cancel").json()
    assert batch["status"] == "cancelling"
    assert batch["cancelling_at"] is not None
    assert finish_batches() == 1
    batch = client.get(f"/v1/batches/{batch_id}").json()
    assert (batch["status"], batch["output_file_id"]) == ("cancelled", None)
    file = client.get(f"/v1/files/{batch['error_file_id']}").json()
    assert (file["purpose"], file["filename"]) == ("batch_output", f"{batch_id}_error.jsonl")
    content = client.get(f"/v1/files/{batch['error_file_id']}/content").text.splitlines()
    assert [json.loads(one)["custom_id"] for one in content] == ["a", "b"]
    again = client.post(f"/v1/batches/{batch_id}/cancel")
    assert again.status_code == 400
    assert again.json()["error"]["code"] == "batch_not_cancellable"


def test_request_counts_are_live_while_it_runs(client: TestClient, file_id: str) -> None:
    batch_id = make(client, file_id).json()["id"]
    with get_database().transaction() as session:
        assert jobs.claim(session, batch_id, "gpu0@a")
        session.get_one(Job, batch_id).progress = {"step": 2, "total": 2, "failed": 1}
    batch = client.get(f"/v1/batches/{batch_id}").json()
    assert batch["status"] == "in_progress"
    assert batch["in_progress_at"] is not None
    assert batch["request_counts"] == {"total": 2, "completed": 1, "failed": 1}


def test_a_batch_is_made_once_under_one_key_though_its_file_is_gone(
    client: TestClient, file_id: str
) -> None:
    key = {"Idempotency-Key": "order-1"}
    body = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "1h"}
    first = client.post("/v1/batches", json=body, headers=key)
    client.post(f"/v1/batches/{first.json()['id']}/cancel")
    finish_batches()
    assert client.delete(f"/v1/files/{file_id}").status_code == 200
    again = client.post("/v1/batches", json=body, headers=key)
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert len(client.get("/v1/batches").json()["data"]) == 1


def test_a_file_that_a_batch_needs_stays(client: TestClient, file_id: str) -> None:
    make(client, file_id)
    refused = client.delete(f"/v1/files/{file_id}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "file_in_use")
