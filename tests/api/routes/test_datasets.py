"""Uploading a file: what the stream of bytes shows is refused at once and leaves nothing."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

GOOD = b'{"question": "how many?", "sql": "select 1"}\n'


def upload(client: TestClient, content: bytes, *, filename: str = "pairs.jsonl", **fields: str):
    return client.post("/v1/datasets", data=fields, files={"file": (filename, content)})


def test_an_upload_is_a_dataset_in_the_making_with_its_prepare_job(client: TestClient) -> None:
    made = upload(client, GOOD, name="pairs")
    assert made.status_code == 202, made.text
    dataset = made.json()
    assert dataset["status"] == "processing"
    job = client.get(f"/v1/jobs/{dataset['job']}").json()
    assert (job["type"], job["status"]) == ("prepare", "queued")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"\x1f\x8b" + b"x" * 5000, "gzip"),
        ('{"question": "x"}\n'.encode("utf-16"), "UTF-16"),
        (GOOD + b'{"question": "\xff\xfe"}\n', "line 2"),
        (b'{"question": "' + b"x" * 3_000_000, "line 1"),
    ],
)
def test_what_streaming_shows_is_refused_at_once(
    client: TestClient, data_dir: Path, content: bytes, word: str
) -> None:
    answer = upload(client, content)
    assert answer.status_code in (400, 413)
    assert word in answer.json()["error"]["message"]
    assert list((data_dir / "uploads").iterdir()) == []
    assert client.get("/v1/datasets").json()["data"] == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"database": "nowhere"}, "database"),
        ({"model": "nowhere"}, "model"),
        ({"format": "xlsx"}, "format"),
        ({"mapping": "{"}, "mapping"),
        ({"split": '{"train": 0.5, "validation": 0.1, "test": 0.1}'}, "split"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_field_is_named_and_the_file_is_gone(
    client: TestClient, data_dir: Path, fields: dict[str, str], param: str
) -> None:
    answer = upload(client, GOOD, **fields)
    assert answer.status_code in (400, 404), answer.text
    assert answer.json()["error"]["param"] == param
    assert [path for path in (data_dir / "storage").rglob("*") if path.is_file()] == []


def test_cancelling_the_prepare_job_ends_the_dataset_invalid(client: TestClient) -> None:
    dataset = upload(client, GOOD, name="pairs").json()
    client.post(f"/v1/jobs/{dataset['job']}/cancel")
    assert client.get("/v1/datasets/pairs").json()["status"] == "invalid"


def test_a_body_that_is_no_form_is_refused(client: TestClient) -> None:
    assert client.post("/v1/datasets", json={"file": "x"}).status_code == 400
    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert client.post("/v1/datasets", content=b"garbage", headers=headers).status_code == 400
