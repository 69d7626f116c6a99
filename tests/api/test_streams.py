"""Events as a stream: whole, resumed without a gap, at its end with the job, and no hindrance."""

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from api import streams
from core.db import get_database
from core.jobs import service
from core.jobs.models import Job
from tests.api.conftest import make_key
from tests.api.openai.test_fine_tuning import create, file, upload
from tests.api.process import Api, api_process

__all__ = ["file"]

ON_SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
"""For what has nothing to do with the database."""
STREAM = {"accept": "text/event-stream"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "POLL_SECONDS", 0.01)


@pytest.fixture(params=["/v1/jobs", "/v1/fine_tuning/jobs"])
def url(request: pytest.FixtureRequest, client: TestClient, file: str) -> str:
    """The events of a job that has ended, on either surface."""
    job = create(client, file)
    client.post(f"/v1/fine_tuning/jobs/{job['id']}/cancel").raise_for_status()
    return f"{request.param}/{job['id']}/events"


def read(text: str) -> list[dict]:
    """The events of a stream that ended as it should."""
    *events, done, rest = text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [parsed(event) for event in events]


def parsed(event: str) -> dict:
    name, data = event.split("\n")
    body = json.loads(data.removeprefix("data: "))
    assert name == f"id: {body['id']}"
    return body


def test_a_stream_brings_what_the_pages_bring_oldest_first(client: TestClient, url: str) -> None:
    answer = client.get(url, headers=STREAM)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert read(answer.text) == client.get(url, params={"order": "asc"}).json()["data"]
    assert "cancelled" in answer.text


def test_it_is_resumed_behind_the_last_event(client: TestClient, url: str) -> None:
    events = read(client.get(url, headers=STREAM).text)
    for number, event in enumerate(events, start=1):
        resumed = client.get(url, headers=STREAM | {"last-event-id": event["id"]})
        assert read(resumed.text) == events[number:]
    after = client.get(url, headers=STREAM, params={"after": events[0]["id"]})
    assert read(after.text) == events[1:]


def test_long_histories_come_whole(
    client: TestClient, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read(client.get(url, headers=STREAM).text)
    monkeypatch.setattr(streams, "PAGE", 1)
    assert read(client.get(url, headers=STREAM).text) == whole


@pytest.mark.parametrize("place", ["nothing", "-1", "ftevent-e0"])
def test_a_place_that_is_none_is_refused_before_the_stream_begins(
    client: TestClient, url: str, place: str
) -> None:
    answer = client.get(url, headers=STREAM | {"last-event-id": place})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "after"


def test_a_strangers_stream_is_not_found(stranger: TestClient, url: str) -> None:
    assert stranger.get(url, headers=STREAM).status_code == 404


# -- against a process of its own ------------------------------------------------------------------


@pytest.fixture
def api(data_dir: Path) -> Iterator[Api]:
    with api_process(data_dir) as api:
        yield api


@pytest.fixture
def remote(api: Api) -> Iterator[httpx.Client]:
    key = make_key("ours", "admin")
    with httpx.Client(
        base_url=api.base_url, headers={"authorization": f"Bearer {key}"}, timeout=30
    ) as client:
        yield client


def test_events_come_as_they_happen_until_the_job_ends(remote: httpx.Client) -> None:
    job = create(remote, upload(remote))
    url = f"/v1/fine_tuning/jobs/{job['id']}/events"
    with remote.stream("GET", url, headers=STREAM) as answer:
        lines = answer.iter_lines()
        first = [next(lines) for _ in range(6)]
        assert sum(line.startswith("id: ") for line in first) == 2
        with get_database().transaction() as session:
            job = session.get_one(Job, job["id"])
            service.request_cancel(session, job.project_id, job.id)
        rest = list(lines)
    assert "The job was cancelled." in "".join(rest)
    assert rest[-2] == "data: [DONE]"


@ON_SQLITE
def test_an_open_stream_does_not_hold_up_a_shutdown(api: Api, remote: httpx.Client) -> None:
    """uvicorn has no limit here: it waits for every answer that is under way."""
    job = create(remote, upload(remote))
    with remote.stream("GET", f"/v1/jobs/{job['id']}/events", headers=STREAM) as answer:
        lines = answer.iter_lines()
        next(lines)
        api.process.send_signal(signal.SIGTERM)
        rest = list(lines)  # ends as a whole answer, not as a broken connection
    assert "data: [DONE]" not in rest, "its client comes back: the job has not ended"
    assert api.process.wait(timeout=5) in (0, -signal.SIGTERM)


@ON_SQLITE
def test_many_waiting_streams_hold_no_thread(api: Api, remote: httpx.Client) -> None:
    """There are 40 threads for all requests; 60 streams wait, and others are answered."""
    job = create(remote, upload(remote))
    opened = threading.Semaphore(0)
    over = threading.Event()

    def wait() -> None:
        with (
            httpx.Client(base_url=api.base_url, headers=remote.headers, timeout=30) as client,
            client.stream("GET", f"/v1/jobs/{job['id']}/events", headers=STREAM) as answer,
        ):
            next(answer.iter_lines())
            opened.release()
            over.wait(30)

    waiting = [threading.Thread(target=wait) for _ in range(60)]
    for one in waiting:
        one.start()
    for _ in waiting:
        assert opened.acquire(timeout=30)
    assert remote.get("/v1/jobs", timeout=10).status_code == 200
    over.set()
    for one in waiting:
        one.join()
