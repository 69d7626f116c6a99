"""A POST that creates is carried out once under one key, whatever happens around it."""

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from core.db import get_database
from core.files.models import File
from core.fleet import service as fleet
from core.idempotency import service
from core.idempotency.models import IdempotencyKey
from core.jobs.models import Job
from core.storage import get_storage
from tests.api.process import api_process

KEY = {"Idempotency-Key": "order-1"}
LINE = b'{"question": "How many?", "sql": "SELECT 1"}\n'


def upload(client: TestClient, content: bytes = LINE, *, purpose: str = "batch", **headers: str):
    return client.post(
        "/v1/files",
        files={"file": ("a.jsonl", content)},
        data={"purpose": purpose},
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


@pytest.fixture
def prepare(client: TestClient) -> dict:
    file = upload(client, purpose="fine-tune").json()["id"]
    return {"type": "prepare", "params": {"name": "d", "file": file}}


def count(table: type) -> int:
    with get_database().reading() as session:
        return session.scalar(select(func.count()).select_from(table))


def test_the_same_request_again_gets_the_same_answer_and_creates_nothing(
    client: TestClient, prepare: dict
) -> None:
    first = client.post("/v1/jobs", json=prepare, headers=KEY)
    again = client.post("/v1/jobs", json=prepare, headers=KEY)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert count(Job) == 1


def test_the_same_key_for_another_request_is_refused(client: TestClient, prepare: dict) -> None:
    client.post("/v1/jobs", json=prepare, headers=KEY)
    for answer in (
        client.post("/v1/jobs", json=prepare | {"priority": 1}, headers=KEY),
        upload(client, Idempotency_Key="order-1"),
    ):
        assert answer.status_code == 409, answer.text
        assert answer.headers["x-should-retry"] == "false"
        assert answer.json()["error"]["code"] == "idempotency_key_reused"
    assert (count(Job), count(File)) == (1, 1)


def test_a_key_is_one_projects_own(client: TestClient, stranger: TestClient, prepare: dict) -> None:
    client.post("/v1/jobs", json=prepare, headers=KEY)
    answer = stranger.post("/v1/jobs", json=prepare, headers=KEY)
    assert answer.status_code == 404, "the file is not theirs, and neither is the answer"


def test_what_was_refused_is_not_kept(client: TestClient, prepare: dict) -> None:
    wrong = {"type": "prepare", "params": {"name": "d", "file": "file_none"}}
    assert client.post("/v1/jobs", json=wrong, headers=KEY).status_code == 404
    assert client.post("/v1/jobs", json=prepare, headers=KEY).status_code == 202


def test_a_process_killed_between_commit_and_answer_has_the_answer_when_it_is_back(
    client: TestClient, prepare: dict, data_dir: Path
) -> None:
    with get_database().transaction() as session:  # somebody to ring for, where it is killed
        fleet.register(session, fleet.Node("cpu0@here", "cpu", "cpu", 1, 1, [], {}))
    failpoints = data_dir / "failpoints"
    failpoints.mkdir()
    (failpoints / "job.publish").write_text("kill")
    headers = dict(client.headers) | KEY

    with api_process(data_dir, TUNEYARD_FAILPOINTS=str(failpoints)) as api:
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{api.base_url}/v1/jobs", json=prepare, headers=headers, timeout=30)
        assert api.process.wait(timeout=10) == -signal.SIGKILL
    with api_process(data_dir) as api:
        again = httpx.post(f"{api.base_url}/v1/jobs", json=prepare, headers=headers, timeout=30)
    assert again.status_code == 202
    assert again.headers["idempotent-replayed"] == "true"
    assert count(Job) == 1


def test_a_crash_before_the_commit_leaves_neither_job_nor_key(
    client: TestClient, prepare: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(service, "record", die)
    assert client.post("/v1/jobs", json=prepare, headers=KEY).status_code == 500
    assert (count(Job), count(IdempotencyKey)) == (0, 0)
    monkeypatch.undo()
    assert client.post("/v1/jobs", json=prepare, headers=KEY).status_code == 202


def test_an_upload_is_known_by_its_fields_and_content(client: TestClient) -> None:
    first = upload(client, Idempotency_Key="up-1")
    again = upload(client, Idempotency_Key="up-1")  # the boundary is another one
    assert first.status_code == 200
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    other = upload(client, LINE + LINE, Idempotency_Key="up-1")
    assert other.status_code == 409
    assert upload(client, purpose="evals", Idempotency_Key="up-1").status_code == 409
    assert count(File) == 1
    kept = [entry for entry in get_storage().fs.find(get_storage().root)]
    assert len(kept) == 1, "what came again left no bytes"


def test_two_at_once_create_one(client: TestClient, prepare: dict) -> None:
    start = threading.Barrier(8)

    def post() -> int:
        start.wait()
        return client.post("/v1/jobs", json=prepare, headers=KEY).status_code

    with ThreadPoolExecutor(8) as pool:
        codes = [one.result() for one in [pool.submit(post) for _ in range(8)]]
    assert set(codes) <= {202, 409} and 202 in codes
    assert count(Job) == 1


def test_a_second_upload_while_the_first_is_still_coming_is_refused_at_once(
    client: TestClient, data_dir: Path
) -> None:
    headers = {"authorization": client.headers["authorization"], "Idempotency-Key": "slow-1"}
    form = {"files": {"file": ("a.jsonl", LINE)}, "data": {"purpose": "batch"}}
    whole = httpx.Request("POST", "http://x/v1/files", **form)
    body, kind = whole.read(), whole.headers["content-type"]
    begun, go_on = threading.Event(), threading.Event()

    def slowly() -> Iterator[bytes]:
        yield body[:-20]
        begun.set()
        go_on.wait(60)
        yield body[-20:]

    with api_process(data_dir) as api, ThreadPoolExecutor(1) as pool:
        url = f"{api.base_url}/v1/files"
        first = pool.submit(
            httpx.post, url, content=slowly(), headers=headers | {"content-type": kind}, timeout=90
        )
        try:
            assert begun.wait(60)
            deadline = time.monotonic() + 60
            while not list((data_dir / "uploads").glob("*")):  # it has arrived there
                assert time.monotonic() < deadline
                time.sleep(0.05)
            second = httpx.post(url, headers=headers, timeout=60, **form)
            assert second.status_code == 409
            assert second.json()["error"]["code"] == "idempotency_key_in_progress"
        finally:
            go_on.set()
        assert first.result().status_code == 200
        third = httpx.post(url, headers=headers, timeout=60, **form)
        assert third.json() == first.result().json()
    assert count(File) == 1


def test_a_key_is_good_for_a_day(client: TestClient, prepare: dict) -> None:
    client.post("/v1/jobs", json=prepare, headers=KEY)
    with get_database().transaction() as session:
        old = IdempotencyKey.created_at - service.KEEP_SECONDS
        session.execute(update(IdempotencyKey).values(created_at=old))
    other = prepare["params"] | {"name": "e"}
    answer = client.post("/v1/jobs", json={"type": "prepare", "params": other}, headers=KEY)
    assert answer.status_code == 202
    assert count(Job) == 2


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "schlüssel"])
def test_an_odd_key_is_refused(client: TestClient, prepare: dict, key: str) -> None:
    answer = client.post("/v1/jobs", json=prepare, headers={"Idempotency-Key": key.encode()})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "Idempotency-Key"
