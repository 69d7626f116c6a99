"""Files over HTTP: what is taken, how it is shown, when it goes."""

import hashlib
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from core.db import get_database
from core.files.models import File
from core.storage import get_storage

LINE = '{"question": "有多少客户？", "sql": "SELECT 1"}\n'.encode()
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
DAY = 24 * 3600


def upload(client: TestClient, content: bytes = LINE, filename: str = "问题.jsonl", **fields: str):
    return client.post("/v1/files", files={"file": (filename, content)}, data=fields)


def made(client: TestClient, content: bytes = LINE, **fields: str) -> dict:
    answer = upload(client, content, **fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def stored(data_dir: Path) -> list[str]:
    left = [path.name for path in (data_dir / "uploads").glob("*")]
    return left + [found.key for found in get_storage().walk("projects")]


def test_a_file_is_kept_and_shown(client: TestClient) -> None:
    file = made(client, purpose="batch")
    assert (file["filename"], file["bytes"], file["purpose"]) == ("问题.jsonl", len(LINE), "batch")
    assert (file["object"], file["status"], file["status_details"]) == ("file", "processed", None)
    assert client.get(f"/v1/files/{file['id']}").json() == file
    assert [one["id"] for one in client.get("/v1/files").json()["data"]] == [file["id"]]


@pytest.mark.parametrize("fields", [{}, {"purpose": "nonsense"}, {"purpose": "batch_output"}])
def test_a_file_wants_a_purpose_and_the_answer_names_the_right_ones(
    client: TestClient, data_dir: Path, fields: dict[str, str]
) -> None:
    answer = upload(client, **fields)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == "purpose"
    assert "fine-tune, batch, user_data, evals, assistants, vision" in error["message"]
    assert client.get("/v1/files").json()["data"] == []
    assert stored(data_dir) == []


@pytest.mark.parametrize("purpose", ["vision", "user_data", "assistants"])
def test_files_that_are_no_rows_may_hold_any_bytes(client: TestClient, purpose: str) -> None:
    file = made(client, PNG, purpose=purpose)
    assert client.get(f"/v1/files/{file['id']}/content").content == PNG


@pytest.mark.parametrize("purpose", ["fine-tune", "batch", "evals"])
@pytest.mark.parametrize("late", [False, True])
def test_rows_are_looked_at_also_when_the_purpose_comes_behind_them(
    client: TestClient, data_dir: Path, purpose: str, late: bool
) -> None:
    file, field = ("file", ("image.png", PNG)), ("purpose", (None, purpose))
    answer = client.post("/v1/files", files=[file, field] if late else [field, file])
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "not_text"
    assert stored(data_dir) == []


def test_an_empty_file_is_refused(client: TestClient) -> None:
    answer = upload(client, b"", purpose="user_data")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "empty_file")


def test_a_file_expires_when_it_was_told_to(client: TestClient) -> None:
    after = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    file = made(client, purpose="fine-tune", **after)
    assert file["expires_at"] == file["created_at"] + 3600


def test_what_batches_were_fed_with_expires_after_30_days_and_the_rest_never(
    client: TestClient,
) -> None:
    file = made(client, purpose="batch")
    assert file["expires_at"] == file["created_at"] + 30 * DAY
    assert made(client, purpose="fine-tune")["expires_at"] is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"anchor": "created_at", "seconds": "3599"}, "expires_after[seconds]"),
        ({"anchor": "created_at", "seconds": "2592001"}, "expires_after[seconds]"),
        ({"anchor": "created_at", "seconds": "soon"}, "expires_after[seconds]"),
        ({"anchor": "last_used_at", "seconds": "3600"}, "expires_after[anchor]"),
        ({"seconds": "3600"}, "expires_after[anchor]"),
        ({"anchor": "created_at", "minutes": "90"}, "expires_after[minutes]"),
    ],
)
def test_an_expiry_that_can_not_be_is_refused_by_name(
    client: TestClient, data_dir: Path, fields: dict[str, str], param: str
) -> None:
    named = {f"expires_after[{name}]": value for name, value in fields.items()}
    answer = upload(client, purpose="batch", **named)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert stored(data_dir) == []


def test_a_list_is_filtered_by_purpose_and_read_in_pages(client: TestClient) -> None:
    ids = [made(client, purpose="batch")["id"] for _ in range(3)]
    made(client, purpose="evals")
    first = client.get("/v1/files", params={"purpose": "batch", "limit": 2}).json()
    assert [one["id"] for one in first["data"]] == [ids[2], ids[1]]
    assert (first["has_more"], first["last_id"]) == (True, ids[1])
    rest = {"purpose": "batch", "after": first["last_id"]}
    second = client.get("/v1/files", params=rest).json()
    assert ([one["id"] for one in second["data"]], second["has_more"]) == ([ids[0]], False)
    ascending = client.get("/v1/files", params={"order": "asc", "purpose": "batch"}).json()
    assert [one["id"] for one in ascending["data"]] == ids


def test_a_page_of_files_has_up_to_10000(client: TestClient) -> None:
    for _ in range(21):
        made(client, purpose="user_data")
    assert len(client.get("/v1/files").json()["data"]) == 21
    assert client.get("/v1/files", params={"limit": 10_000}).status_code == 200
    answer = client.get("/v1/files", params={"limit": 10_001})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "limit")


def test_the_content_is_the_bytes_under_their_hash(client: TestClient) -> None:
    file = made(client, purpose="batch")
    answer = client.get(f"/v1/files/{file['id']}/content")
    assert answer.content == LINE
    assert answer.headers["etag"] == f'"{hashlib.sha256(LINE).hexdigest()}"'
    assert answer.headers["content-length"] == str(len(LINE))
    assert "%E9%97%AE%E9%A2%98.jsonl" in answer.headers["content-disposition"]


def test_bytes_that_are_lost_are_an_error_and_no_answer_cut_short(client: TestClient) -> None:
    file = made(client, purpose="batch")
    with get_database().reading() as session:
        get_storage().delete(session.get_one(File, file["id"]).storage_key)
    assert client.get(f"/v1/files/{file['id']}/content").status_code == 404


def test_a_deleted_file_is_gone_with_its_bytes(client: TestClient, data_dir: Path) -> None:
    file = made(client, purpose="batch")
    assert len(stored(data_dir)) == 1
    answer = client.delete(f"/v1/files/{file['id']}")
    assert answer.json() == {"id": file["id"], "object": "file", "deleted": True}
    assert stored(data_dir) == []
    for path in (f"/v1/files/{file['id']}", f"/v1/files/{file['id']}/content"):
        assert client.get(path).status_code == 404
    assert client.get("/v1/files").json()["data"] == []
    again = client.delete(f"/v1/files/{file['id']}")
    assert (again.status_code, again.json()["error"]["code"]) == (404, "not_found")


def test_a_file_that_a_job_needs_is_not_deleted_until_the_job_has_ended(
    client: TestClient,
) -> None:
    file = made(client, purpose="fine-tune")
    job = {"type": "prepare", "params": {"name": "pairs", "file": file["id"]}}
    job = client.post("/v1/jobs", json=job).json()
    for _ in ("queued", "paused"):
        answer = client.delete(f"/v1/files/{file['id']}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "file_in_use")
        assert job["id"] in answer.json()["error"]["message"]
        client.post(f"/v1/jobs/{job['id']}/pause")
    client.post(f"/v1/jobs/{job['id']}/cancel")
    assert client.get(f"/v1/files/{file['id']}").status_code == 200, "the customer's, not the job's"
    assert client.delete(f"/v1/files/{file['id']}").status_code == 200


def test_a_job_on_a_deleted_file_is_refused(client: TestClient) -> None:
    file = made(client, purpose="fine-tune")
    client.delete(f"/v1/files/{file['id']}")
    job = {"type": "prepare", "params": {"name": "pairs", "file": file["id"]}}
    answer = client.post("/v1/jobs", json=job)
    assert (answer.status_code, answer.json()["error"]["param"]) == (404, "file")
    assert "deleted" in answer.json()["error"]["message"]


def test_what_came_with_a_dataset_stays_after_a_cancel_until_it_expires_or_is_deleted(
    client: TestClient, data_dir: Path
) -> None:
    form = {"files": {"file": ("a.jsonl", LINE)}, "data": {"name": "pairs"}}
    dataset = client.post("/v1/datasets", **form).json()
    url = f"/v1/files/{dataset['file']}"
    assert (client.get(url).json()["purpose"], client.get(url).json()["expires_at"]) == (
        "dataset",
        None,
    )
    client.post(f"/v1/jobs/{dataset['job']}/cancel")
    assert client.get(url).json()["expires_at"] > time.time()
    assert client.post(f"/v1/jobs/{dataset['job']}/retry").status_code == 202
    again = client.get("/v1/jobs").json()["data"][0]
    client.post(f"/v1/jobs/{again['id']}/cancel")
    assert client.delete(url).json()["deleted"] is True
    assert client.get(url).status_code == 404
    assert stored(data_dir) == []
