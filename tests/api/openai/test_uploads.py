"""Uploads in parts over HTTP: what becomes a file, what is refused; nothing is left behind."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from core.db import db_now, get_database
from core.settings import get_settings
from core.storage import get_storage
from core.uploads import service
from core.uploads.models import Upload

LINES = b"".join(b'{"question": "q%d", "sql": "SELECT 1"}\n' % n for n in range(40))


def create(client: TestClient, **given: object):
    body = {"filename": "问题.jsonl", "purpose": "fine-tune", "mime_type": "application/jsonl"}
    return client.post("/v1/uploads", json=body | {"bytes": len(LINES)} | given)


@pytest.fixture
def upload(client: TestClient) -> str:
    return create(client).json()["id"]


def add(client: TestClient, upload: str, content: bytes):
    return client.post(f"/v1/uploads/{upload}/parts", files={"data": ("blob", content)})


def halves(client: TestClient, upload: str, content: bytes = LINES) -> list[str]:
    middle = len(content) // 2 + 7  # within a line
    return [add(client, upload, half).json()["id"] for half in (content[:middle], content[middle:])]


def complete(client: TestClient, upload: str, parts: list[str], **given: str):
    return client.post(f"/v1/uploads/{upload}/complete", json={"part_ids": parts} | given)


def stored(data_dir: Path) -> list[str]:
    left = [path.name for path in (data_dir / "uploads").glob("*")]
    return left + [found.key for found in get_storage().walk("projects")]


def test_parts_become_a_file_in_the_order_in_which_they_are_named(
    client: TestClient, data_dir: Path
) -> None:
    made = create(client).json()
    assert (made["object"], made["status"], made["file"]) == ("upload", "pending", None)
    assert made["expires_at"] == made["created_at"] + 3600
    middle = len(LINES) // 2
    second = add(client, made["id"], LINES[middle:]).json()
    first = add(client, made["id"], LINES[:middle]).json()
    assert (first["object"], first["upload_id"]) == ("upload.part", made["id"])
    md5 = hashlib.md5(LINES).hexdigest().upper()
    done = complete(client, made["id"], [first["id"], second["id"]], md5=md5).json()
    assert (done["status"], done["file"]["filename"]) == ("completed", "问题.jsonl")
    assert client.get(f"/v1/files/{done['file']['id']}").json() == done["file"]
    assert client.get(f"/v1/files/{done['file']['id']}/content").content == LINES
    assert len(stored(data_dir)) == 1, "the parts are gone"


def test_a_part_that_came_twice_may_be_left_out(client: TestClient, upload: str) -> None:
    first, second = halves(client, upload)
    halves(client, upload)
    assert complete(client, upload, [first, second]).json()["status"] == "completed"


def test_the_file_expires_as_the_upload_was_told(client: TestClient) -> None:
    after = {"anchor": "created_at", "seconds": 7200}
    upload = create(client, expires_after=after).json()["id"]
    file = complete(client, upload, halves(client, upload)).json()["file"]
    assert file["expires_at"] == file["created_at"] + 7200


@pytest.mark.parametrize(
    ("given", "param", "code"),
    [
        ({"purpose": "nonsense"}, "purpose", 400),
        ({"bytes": 0}, "bytes", 400),
        ({"bytes": 2**40}, "bytes", 413),
        ({"filename": "../etc/passwd"}, "filename", 400),
        ({"expires_after": {"anchor": "created_at", "seconds": 1}}, "expires_after.seconds", 400),
        ({"size": 3}, "size", 400),
    ],
)
def test_an_upload_that_can_not_be_is_refused_by_name(
    client: TestClient, given: dict, param: str, code: int
) -> None:
    answer = create(client, **given)
    assert (answer.status_code, answer.json()["error"]["param"]) == (code, param)


def test_parts_that_do_not_add_up_are_no_file(client: TestClient, upload: str) -> None:
    first, second = halves(client, upload)
    cases = {
        "bytes_mismatch": [first],
        "invalid_input": [first, "part_none"],
        "md5_mismatch": [second, first],
    }
    for code, parts in cases.items():
        answer = complete(client, upload, parts, md5=hashlib.md5(LINES).hexdigest())
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert complete(client, upload, [first, first]).status_code == 400
    assert client.get("/v1/files").json()["data"] == []
    assert complete(client, upload, [first, second]).status_code == 200, "and it can be mended"


def test_a_part_of_another_upload_is_none_of_this_one(client: TestClient, upload: str) -> None:
    other = halves(client, create(client).json()["id"])
    answer = complete(client, upload, other)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "part_ids")


def test_what_no_upload_at_once_may_hold_no_parts_may_hold_together(
    client: TestClient, data_dir: Path
) -> None:
    broken = LINES[:-4] + b"\xff\xfe\n\n"
    upload = create(client, bytes=len(broken)).json()["id"]
    answer = complete(client, upload, halves(client, upload, broken))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_utf8")
    client.post(f"/v1/uploads/{upload}/cancel")
    assert stored(data_dir) == []


def test_a_part_is_bounded_and_an_empty_one_refused(
    client: TestClient, data_dir: Path, upload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PART_BYTES", 100)
    assert add(client, upload, b"x" * 100).status_code == 200
    answer = add(client, upload, b"x" * 101)
    assert (answer.status_code, answer.json()["error"]["param"]) == (413, "data")
    assert add(client, upload, b"").status_code == 400
    assert len(stored(data_dir)) == 1


def test_a_part_may_be_larger_than_another_body_and_nothing_else_beside_it(
    client: TestClient, upload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_settings(), "max_body_bytes", 200)
    assert add(client, upload, LINES[:500]).status_code == 200
    assert complete(client, upload, ["part"] * 100).status_code == 413


def test_parts_are_bounded_by_what_was_announced(client: TestClient, upload: str) -> None:
    assert add(client, upload, LINES).status_code == 200
    assert add(client, upload, LINES).status_code == 200, "an answer may have been lost"
    answer = add(client, upload, b"x")
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_a_part_without_a_file_is_refused(client: TestClient, upload: str) -> None:
    form = {"files": {"data": (None, "text")}}
    answer = client.post(f"/v1/uploads/{upload}/parts", **form)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "data")


def test_a_cancelled_upload_leaves_nothing_and_takes_nothing(
    client: TestClient, data_dir: Path, upload: str
) -> None:
    parts = halves(client, upload)
    assert len(stored(data_dir)) == 2
    done = client.post(f"/v1/uploads/{upload}/cancel")
    assert (done.status_code, done.json()["status"]) == (200, "cancelled")
    assert stored(data_dir) == []
    refused = [
        add(client, upload, b"x"),
        complete(client, upload, parts),
        client.post(f"/v1/uploads/{upload}/cancel"),
    ]
    for answer in refused:
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "upload_not_pending"
    assert stored(data_dir) == []


def test_a_completed_upload_says_which_file_it_became(client: TestClient, upload: str) -> None:
    parts = halves(client, upload)
    file = complete(client, upload, parts).json()["file"]
    answer = complete(client, upload, parts)
    assert answer.status_code == 400
    assert file["id"] in answer.json()["error"]["message"]
    assert len(client.get("/v1/files").json()["data"]) == 1


def test_an_upload_takes_nothing_when_its_hour_is_over(client: TestClient, upload: str) -> None:
    parts = halves(client, upload)
    with get_database().transaction() as session:
        session.get_one(Upload, upload).expires_at = session.scalar(select(db_now()))
    for answer in (add(client, upload, b"x"), complete(client, upload, parts)):
        assert answer.status_code == 400
        assert "'expired'" in answer.json()["error"]["message"]


def test_a_completion_is_carried_out_once_under_one_key(client: TestClient, upload: str) -> None:
    parts = {"part_ids": halves(client, upload)}
    key = {"Idempotency-Key": "once"}
    answers = [
        client.post(f"/v1/uploads/{upload}/complete", json=parts, headers=key) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].content == answers[1].content
    assert answers[1].headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize("end", ["complete", "cancel"])
def test_a_repeated_part_is_answered_as_it_was_after_the_upload_has_ended(
    client: TestClient, upload: str, data_dir: Path, end: str
) -> None:
    def part(content: bytes, key: str):
        return client.post(
            f"/v1/uploads/{upload}/parts",
            files={"data": ("blob", content)},
            headers={"Idempotency-Key": key},
        )

    first = part(LINES, "part-1")
    if end == "complete":
        assert complete(client, upload, [first.json()["id"]]).status_code == 200
    else:
        assert client.post(f"/v1/uploads/{upload}/cancel").status_code == 200
    left = stored(data_dir)
    again = part(LINES, "part-1")
    assert (again.status_code, again.text) == (200, first.text)
    assert again.headers["idempotent-replayed"] == "true"
    assert part(LINES[:-1], "part-1").json()["error"]["code"] == "idempotency_key_reused"
    assert part(LINES, "part-2").json()["error"]["code"] == "upload_not_pending"
    assert stored(data_dir) == left


@pytest.mark.parametrize("end", ["cancel", "expire", "complete", "lose"])
def test_a_completion_that_another_end_overtakes_says_what_became_of_the_upload(
    client: TestClient, upload: str, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    parts = halves(client, upload)
    content = service.content

    def overtaken(*args: Any) -> Iterator[bytes]:
        monkeypatch.setattr(service, "content", content)
        if end == "expire":
            with get_database().transaction() as session:
                session.get_one(Upload, upload).expires_at = 1
            with get_database().transaction() as session:
                service.drop_expired(session, most=10)
        elif end == "cancel":
            client.post(f"/v1/uploads/{upload}/cancel")
        elif end == "complete":
            complete(client, upload, parts)
        else:
            get_storage().delete("projects")
        yield from content(*args)

    monkeypatch.setattr(service, "content", overtaken)
    answer = complete(client, upload, parts)
    error = answer.json()["error"]
    if end == "lose":  # what the storage has lost is another matter
        assert (answer.status_code, error["code"]) == (404, "not_found")
    else:
        assert (answer.status_code, error["code"]) == (409, "upload_changed")
        assert {"cancel": "cancelled", "expire": "expired"}.get(end, "completed") in error[
            "message"
        ]
