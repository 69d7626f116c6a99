"""The supervisor records every end of a runner truly, whatever breaks, and leaves no process."""

import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core.accounts.service import ensure_project
from core.db import get_database
from core.errors import JobFailure
from core.jobs import claims, records, service
from core.jobs.models import Job
from tests.core.jobs.jobs import add_job
from tests.platform import environment, migrate
from workers import supervisor
from workers.channel import Channel
from workers.ledger import Ledger
from workers.supervisor import Attempt, JobCancelled, JobFailed

SETTINGS = {
    "broker_url": "redis://127.0.0.1:1/0",
    "lease_seconds": "30",
    "heartbeat_seconds": "1",
    "fence_grace_seconds": "2",
    "stop_grace_seconds": "2",
    "spare_runner": "false",
}


@contextmanager
def settled(folder: Path, **settings: str) -> Iterator[Path]:
    """A database, and settings with which nothing takes long."""
    here = {"data_dir": str(folder), "model_dir": str(folder / "models")}
    with environment(**SETTINGS | here | settings):
        migrate(f"sqlite:///{folder / 'tuneyard.db'}")
        yield folder


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Path]:
    """The runners are real, their work is a batch that lacks its model."""
    with settled(tmp_path) as folder:
        yield folder


def submit(**params: object) -> str:
    """A generate job in the database, whatever stands against it."""
    with get_database().transaction() as session:
        project = ensure_project(session, "default").id
        job = add_job(session, project, type="generate", queue="none")
        job.params = {"model": "nope", "database": None, "questions": None, "file": None} | params
        return job.id


def run(job_id: str) -> str:
    return supervisor.run(job_id, "gpu0@test", "none", "cpu")


def read(job_id: str) -> Job:
    with get_database().reading() as session:
        return session.get_one(Job, job_id)


def children() -> list[psutil.Process]:
    """Runners of this process; those of a platform in the same test run are its grandchildren."""
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and "runner" in " ".join(child.cmdline())
    ]


def test_a_job_that_is_not_to_be_had_is_not_claimed(platform: Path) -> None:
    job_id = submit()
    with get_database().transaction() as session:
        assert service.claim(session, job_id, "another")
    assert run(job_id) == "not claimed"
    assert children() == []


def test_what_the_contract_refuses_at_the_briefing_fails_the_job(platform: Path) -> None:
    job_id = submit()
    with pytest.raises(JobFailed, match="no base model"):
        run(job_id)
    job = read(job_id)
    assert (job.status, job.error["class"]) == ("failed", "config")
    assert children() == []
    assert not list((platform / "work").rglob("*-1"))


@pytest.fixture
def waiting(platform: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A job whose runner got no order: it waits, as one does that is busy for long."""
    job_id = submit()
    monkeypatch.setattr(supervisor.Attempt, "_brief", lambda self: None)
    yield job_id


def in_background(job_id: str) -> tuple[threading.Thread, list[object]]:
    ended: list[object] = []

    def work() -> None:
        try:
            ended.append(run(job_id))
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    deadline = time.monotonic() + 20
    while not children():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return thread, ended


def test_a_killed_runner_sends_its_job_back_to_the_queue(waiting: str) -> None:
    thread, ended = in_background(waiting)
    os.kill(children()[0].pid, signal.SIGKILL)
    thread.join(timeout=20)
    assert ended == ["queued"]
    assert read(waiting).status == "queued"
    with get_database().reading() as session:
        [attempt] = records.attempts(session, waiting)
    assert attempt.outcome == "lost"
    assert "signal 9" in attempt.message


def test_a_runner_that_does_not_stop_is_killed_and_the_job_cancelled(waiting: str) -> None:
    thread, ended = in_background(waiting)
    with get_database().transaction() as session:
        service.request_cancel(session, read(waiting).project_id, waiting)
    thread.join(timeout=20)
    assert isinstance(ended[0], JobCancelled)
    assert read(waiting).status == "cancelled"
    assert children() == []


def test_a_supervisor_whose_claim_was_given_away_stops_and_writes_nothing(waiting: str) -> None:
    thread, ended = in_background(waiting)
    with get_database().transaction() as session:
        held = claims.claim_of(session.get_one(Job, waiting))
        service.requeue(session, held, outcome="drained", message="taken away")
        heir = service.claim(session, waiting, "gpu1@other")
    thread.join(timeout=20)
    assert ended == ["lost claim"]
    job = read(waiting)
    assert (job.status, job.token, job.worker_id) == ("running", heir.token, "gpu1@other")
    assert children() == []


def test_a_job_over_its_time_limit_fails_with_class_timeout(waiting: str) -> None:
    with get_database().transaction() as session:
        session.get_one(Job, waiting).time_limit_seconds = 0.5
    with pytest.raises(JobFailed, match="time limit"):
        run(waiting)
    assert read(waiting).error["class"] == "timeout"


def test_a_full_disk_fails_the_job_with_class_disk(
    waiting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: supervisor.Attempt) -> dict:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(supervisor.Attempt, "_listen", full)
    with pytest.raises(JobFailed):
        run(waiting)
    assert read(waiting).error["class"] == "disk"


def test_a_supervisor_that_breaks_gives_the_job_back_at_once(
    waiting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: supervisor.Attempt) -> dict:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(supervisor.Attempt, "_listen", broken)
    with pytest.raises(JobFailed, match="ZeroDivisionError"):
        run(waiting)
    assert read(waiting).status == "queued"


def test_a_database_that_is_away_for_a_while_costs_nothing(
    waiting: str, platform: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlite3

    blocker = sqlite3.connect(platform / "tuneyard.db", isolation_level=None)
    thread, ended = in_background(waiting)
    blocker.execute("BEGIN IMMEDIATE")
    os.kill(children()[0].pid, signal.SIGKILL)
    time.sleep(1.5)
    blocker.execute("ROLLBACK")
    blocker.close()
    thread.join(timeout=20)
    assert ended == ["queued"]


def test_a_job_that_fails_while_the_database_is_away_is_recorded_when_it_is_back(
    platform: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its runner is gone by then, and with it the pipe to hear it by."""
    away = [OperationalError("INSERT", {}, Exception("away"))]

    def note(self: Ledger, record: Callable[..., Any], **values: Any) -> Any:
        def work(session: Session) -> Any:
            if away and record is service.fail:
                raise away.pop()
            return record(session, held=self.claim, **values)

        return self.write(work)

    monkeypatch.setattr(Ledger, "note", note)
    monkeypatch.setattr(Attempt, "_brief", ordered_nothing)
    monkeypatch.setattr(Attempt, "_listen", failing)
    job_id = submit()
    with pytest.raises(JobFailed):
        run(job_id)
    assert not away and read(job_id).status == "failed"


def ordered_nothing(attempt: Attempt) -> None:
    attempt.ordered = True


def failing(attempt: Attempt) -> dict[str, Any]:
    raise JobFailure("data", "no")


def test_what_a_runner_says_while_the_database_is_away_is_taken(platform: Path) -> None:
    """Else the pipe would fill, and a runner that can't speak ends itself."""
    ours, theirs = map(Channel, socket.socketpair())
    attempt = Attempt.__new__(Attempt)
    attempt.heard, attempt.ordered = deque(), True
    attempt.limits = SimpleNamespace(keep_claim=lambda: None)
    attempt.runner = SimpleNamespace(channel=ours)
    sent = [{"kind": "row", "row": row, "data": {"answer": "x" * 10_000}} for row in range(300)]
    speaking = threading.Thread(target=lambda: [theirs.send(**message) for message in sent])
    speaking.start()
    while speaking.is_alive():
        attempt._keep_claim()
    attempt._keep_claim()
    assert [*attempt.heard] == sent
