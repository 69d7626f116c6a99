"""The heart keeps a claim, hears wishes, and says that a claim is lost before another has it."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.accounts.models import Project
from core.accounts.service import ensure_project
from core.db import db_now, get_database
from core.jobs import service
from core.settings import get_settings
from tests.core.jobs.jobs import add_job, add_worker
from tests.core.jobs.lives import put, read
from tests.workers.test_supervisor import settled
from workers.heart import Heart


@pytest.fixture
def beats() -> list[float]:
    return []


@pytest.fixture
def heart(tmp_path: Path, beats: list[float]) -> Iterator[Heart]:
    """Of a running job, with a lease of 6 s and a beat each second."""
    with settled(tmp_path, lease_seconds="6"):
        with get_database().transaction() as session:
            job = add_job(session, ensure_project(session, "default").id)
        with get_database().transaction() as session:
            held = service.claim(session, job.id, "gpu0@a")
        made = Heart(held, get_settings(), lambda: beats.append(time.monotonic()))
        made.start()
        yield made
        made.end()
        assert not made.is_alive()


def wait(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_lease_is_renewed_and_the_runner_hears_of_it(heart: Heart, beats: list[float]) -> None:
    first = read(get_database(), heart.claim.job_id).lease_expires_at
    wait(lambda: read(get_database(), heart.claim.job_id).lease_expires_at > first + 1)
    assert beats
    assert heart.lost is None


@pytest.mark.parametrize("wish", ["cancel", "pause"])
def test_a_wish_is_heard(heart: Heart, wish: str) -> None:
    put(get_database(), heart.claim.job_id, **{f"{wish}_requested_at": db_now()})
    wait(lambda: getattr(heart.wishes, wish))
    assert heart.lost is None


def test_a_claim_that_another_has_is_lost(heart: Heart) -> None:
    put(get_database(), heart.claim.job_id, token=2)
    wait(lambda: heart.lost)
    assert "another attempt" in heart.lost


def test_a_database_that_hangs_costs_the_claim_with_the_lease(heart: Heart, tmp_path: Path) -> None:
    """The query itself hangs: it is the clock that says so, when the lease is over."""
    blocker = sqlite3.connect(tmp_path / "tuneyard.db", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    wait(lambda: heart.lost)
    assert time.monotonic() - began < 12, "long before the query gives up"
    assert "could not be renewed" in heart.lost
    blocker.execute("ROLLBACK")
    blocker.close()


def test_a_database_that_does_not_answer_costs_the_claim_before_the_lease_is_over(
    heart: Heart, tmp_path: Path
) -> None:
    (tmp_path / "tuneyard.db").rename(tmp_path / "away.db")  # SQLite would begin an empty one
    wait(lambda: heart.lost)
    assert "could not be renewed" in heart.lost


def test_a_server_hears_that_a_job_of_its_project_waits_for_its_end(tmp_path: Path) -> None:
    with settled(tmp_path):
        with get_database().transaction() as session:
            project = ensure_project(session, "default").id
            session.get_one(Project, project).quotas = {"running_jobs": 1}
            add_worker(session, "gpu0@a", slots=3)
            server = add_job(session, project, type="serve").id
        with get_database().transaction() as session:
            held = service.claim(session, server, "gpu0@a")
        beats: list[float] = []
        heart = Heart(held, get_settings(), lambda: beats.append(time.monotonic()))
        heart.start()
        try:
            wait(lambda: len(beats) > 2)
            assert not heart.others_wait
            with get_database().transaction() as session:
                add_job(session, project, type="train")
            wait(lambda: heart.others_wait)
        finally:
            heart.end()
