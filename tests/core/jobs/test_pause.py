"""Pause and resume on both databases; every other state is in test_states."""

import pytest

from core import queue
from core.db import Database
from core.errors import WrongState
from core.jobs import claims, records, service
from core.jobs.dispatch import dispatch
from core.jobs.sweep import sweep
from tests.core.jobs.jobs import add_job, add_worker
from tests.core.jobs.lives import lapse, read, take


@pytest.fixture
def job_id(database: Database, project_id: str) -> str:
    with database.transaction() as session:
        return add_job(session, project_id).id


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    sent: list[str] = []
    monkeypatch.setattr(queue, "ring", lambda job_id, **_: sent.append(job_id) or True)
    return sent


def pause(database: Database, project_id: str, job_id: str) -> str:
    with database.transaction() as session:
        return service.request_pause(session, project_id, job_id).status


def resume(database: Database, project_id: str, job_id: str) -> str:
    with database.transaction() as session:
        return service.resume(session, project_id, job_id).status


def test_a_paused_queued_job_is_neither_rung_nor_claimed_until_it_is_resumed(
    database: Database, project_id: str, job_id: str, rung: list[str]
) -> None:
    assert pause(database, project_id, job_id) == "paused"
    with database.transaction() as session:
        add_worker(session, "gpu0@a")
    dispatch()
    assert rung == []
    with database.transaction() as session:
        assert service.claim(session, job_id, "gpu0@a") is None
    assert resume(database, project_id, job_id) == "queued"
    assert rung == [job_id], "it is rung for as soon as it is resumed"


def test_a_running_job_hears_the_wish_and_its_attempt_does_not_count(
    database: Database, project_id: str, job_id: str, rung: list[str]
) -> None:
    claim = take(database, job_id)
    assert pause(database, project_id, job_id) == "running"
    with database.transaction() as session:
        assert claims.renew(session, claim).pause
        service.paused(session, claim)
        add_worker(session, "gpu0@a")
        other = add_job(session, project_id).id
    job = read(database, job_id)
    assert (job.status, job.barren_attempts, job.worker_id) == ("paused", 0, None)
    dispatch()
    assert rung == [other], "its slot is another's"
    resume(database, project_id, job_id)
    heir = take(database, job_id)
    with database.transaction() as session:
        assert not claims.renew(session, heir).pause, "the wish was fulfilled once"
        assert [one.outcome for one in records.attempts(session, job_id)] == ["paused", None]


def test_a_wish_to_pause_outlives_the_worker(
    database: Database, project_id: str, job_id: str
) -> None:
    take(database, job_id)
    pause(database, project_id, job_id)
    lapse(database, job_id)
    assert sweep() == 1
    assert read(database, job_id).status == "paused"


def test_a_second_wish_is_no_second_event(database: Database, project_id: str, job_id: str) -> None:
    take(database, job_id)
    pause(database, project_id, job_id)
    first = read(database, job_id).pause_requested_at
    pause(database, project_id, job_id)
    assert read(database, job_id).pause_requested_at == first


def test_a_job_that_is_being_paused_says_when_it_can_be_resumed(
    database: Database, project_id: str, job_id: str
) -> None:
    take(database, job_id)
    pause(database, project_id, job_id)
    with pytest.raises(WrongState, match="being paused"):
        resume(database, project_id, job_id)
