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
        ({"split": '{"trian": 0.5}'}, "split.trian"),
        ({"sql_dialect": "klingon"}, "sql_dialect"),
        ({"mapping": '{"verb": "x"}'}, "mapping"),
        ({"mapping": "[" * 5000}, "mapping"),
        ({"name": "a/b"}, "name"),
        ({"name": "a\x00b"}, None),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_field_is_named_and_the_file_is_gone(
    client: TestClient, data_dir: Path, fields: dict[str, str], param: str | None
) -> None:
    answer = upload(client, GOOD, **fields)
    assert answer.status_code in (400, 404), answer.text
    assert param is None or answer.json()["error"]["param"] == param
    assert [path for path in (data_dir / "storage").rglob("*") if path.is_file()] == []


def test_a_misspelt_field_of_the_form_is_told_which_is_meant(client: TestClient) -> None:
    error = upload(client, GOOD, database_id="shop").json()["error"]
    assert error["message"] == "database_id: no such field; perhaps database is meant"
    assert error["param"] == "database_id"


def test_cancelling_the_prepare_job_ends_the_dataset_invalid(client: TestClient) -> None:
    dataset = upload(client, GOOD, name="pairs").json()
    client.post(f"/v1/jobs/{dataset['job']}/cancel")
    assert client.get("/v1/datasets/pairs").json()["status"] == "invalid"


def raw(client: TestClient, body: bytes, boundary: str = "b"):
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    return client.post("/v1/datasets", content=body, headers=headers)


def part(disposition: str, content: bytes) -> bytes:
    return f"--b\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n"


def test_a_form_that_is_cut_off_is_refused_and_leaves_nothing(
    client: TestClient, data_dir: Path
) -> None:
    whole = part('form-data; name="file"; filename="p.jsonl"', GOOD) + b"--b--\r\n"
    for body in (whole[:-8], whole[:-30], part('form-data; name="name"', b"x")):
        assert raw(client, body).status_code == 400
    uploads = data_dir / "uploads"
    assert not uploads.exists() or list(uploads.iterdir()) == []
    assert raw(client, whole).status_code == 202


def test_a_part_without_a_name_takes_no_other_parts_name(client: TestClient) -> None:
    body = part('form-data; name="name"', b"first") + b"--b\r\n\r\nsecond\r\n"
    answer = raw(client, body + b"--b--\r\n")
    assert answer.status_code == 400
    assert "no name" in answer.json()["error"]["message"]


def test_a_file_name_beyond_ascii_is_kept(client: TestClient) -> None:
    made = upload(client, GOOD, filename="问题.jsonl", name="pairs").json()
    file = client.get(f"/v1/files/{made['file']}").json()
    assert file["filename"] == "问题.jsonl"


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("Sales 2024.jsonl", "sales-2024"),
        ("my_pairs.v2.jsonl", "my_pairs.v2"),
        ("问题.jsonl", "dataset"),
    ],
)
def test_without_a_name_the_file_gives_one(client: TestClient, filename: str, name: str) -> None:
    made = upload(client, GOOD, filename=filename)
    assert (made.status_code, made.json()["name"]) == (202, name)
    taken = upload(client, GOOD, filename=filename)
    assert (taken.status_code, taken.json()["error"]["code"]) == (400, "name_taken")


def test_a_given_name_that_is_none_is_refused_before_the_file_is_stored(
    client: TestClient, data_dir: Path
) -> None:
    answer = upload(client, GOOD, name="Sales 2024")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "name")
    assert list((data_dir / "uploads").iterdir()) == []
    assert not (data_dir / "storage").exists()


def test_a_name_is_free_again_after_an_invalid_upload(client: TestClient) -> None:
    first = upload(client, GOOD, name="pairs").json()
    taken = upload(client, GOOD, name="pairs")
    assert taken.json()["error"]["code"] == "name_taken"
    client.post(f"/v1/jobs/{first['job']}/cancel")
    second = upload(client, GOOD, name="pairs")
    assert second.status_code == 202
    assert client.get("/v1/datasets/pairs").json()["id"] == second.json()["id"]


def test_a_body_that_is_no_form_is_refused(client: TestClient) -> None:
    assert client.post("/v1/datasets", json={"file": "x"}).status_code == 400
    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert client.post("/v1/datasets", content=b"garbage", headers=headers).status_code == 400
