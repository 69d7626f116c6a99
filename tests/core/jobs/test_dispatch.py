"""The dispatcher rings in fair order and never for more jobs than there are free slots."""

from collections.abc import Iterator

import pytest
from sqlalchemy import update

from core import queue
from core.accounts.service import ensure_project
from core.db import Database, db_now
from core.fleet.models import Worker
from core.jobs import service
from core.jobs.dispatch import dispatch
from core.jobs.models import Job
from tests.core.jobs.jobs import add_job, add_worker


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int]]]:
    """What would have gone to the broker; the broker itself is in the tests of the queue."""
    sent: list[tuple[str, int]] = []

    def note(job_id: str, *, number: int, queue: str, job_type: str) -> bool:
        sent.append((job_id, number))
        return True

    monkeypatch.setattr(queue, "ring", note)
    yield sent


def fill(database: Database, project: str, count: int, **values: object) -> list[str]:
    with database.transaction() as session:
        project_id = ensure_project(session, project).id
        return [add_job(session, project_id, **values).id for _ in range(count)]


def workers(database: Database, slots: int, *, queue: str = "gpu") -> None:
    with database.transaction() as session:
        add_worker(session, f"{queue}0@a", queue=queue, slots=slots)


def test_nothing_is_rung_without_a_live_worker(database: Database, rung: list) -> None:
    fill(database, "a", 3)
    assert dispatch() == 0


def test_no_more_are_rung_than_there_are_free_slots(database: Database, rung: list) -> None:
    ids = fill(database, "a", 5)
    workers(database, 2)
    assert dispatch() == 2
    assert dispatch() == 0, "those rung a moment ago are on their way"
    assert [job_id for job_id, _ in rung] == ids[:2]


def test_a_running_job_takes_a_slot(database: Database, rung: list) -> None:
    ids = fill(database, "a", 3)
    workers(database, 2)
    with database.transaction() as session:
        assert service.claim(session, ids[0], "gpu0@a")
    dispatch()
    assert [job_id for job_id, _ in rung] == [ids[1]]


def test_ten_jobs_do_not_wait_for_a_thousand(database: Database, rung: list) -> None:
    fill(database, "many", 1000)
    few = fill(database, "few", 10)
    workers(database, 20)
    dispatch()
    assert {job_id for job_id, _ in rung} >= set(few)


def test_priority_comes_before_age_within_a_project(database: Database, rung: list) -> None:
    fill(database, "a", 2)
    [urgent] = fill(database, "a", 1, priority=5)
    workers(database, 1)
    dispatch()
    assert [job_id for job_id, _ in rung] == [urgent]


def test_a_job_waits_for_what_it_depends_on(database: Database, rung: list) -> None:
    [first] = fill(database, "a", 1)
    [second] = fill(database, "a", 1, depends_on=first)
    workers(database, 5)
    dispatch()
    assert [job_id for job_id, _ in rung] == [first]
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id == first).values(status="succeeded"))
    dispatch()
    assert [job_id for job_id, _ in rung] == [first, second]


def test_queues_have_their_own_slots(database: Database, rung: list) -> None:
    fill(database, "a", 1)
    [prepare] = fill(database, "a", 1, queue="cpu")
    workers(database, 1, queue="cpu")
    dispatch()
    assert [job_id for job_id, _ in rung] == [prepare]


def test_a_ring_that_nobody_answers_is_rung_again_with_the_next_number(
    database: Database, rung: list
) -> None:
    [job_id] = fill(database, "a", 1)
    workers(database, 1)
    dispatch()
    with database.transaction() as session:
        session.execute(update(Job).values(rung_at=db_now() - 3600))
    dispatch()
    assert rung == [(job_id, 1), (job_id, 2)]


def test_a_worker_that_was_not_heard_of_gets_nothing(database: Database, rung: list) -> None:
    fill(database, "a", 1)
    workers(database, 1)
    with database.transaction() as session:
        session.execute(update(Worker).values(heartbeat_at=db_now() - 3600))
    assert dispatch() == 0


def test_a_broker_that_is_away_costs_no_job(database: Database, project_id: str) -> None:
    workers(database, 1)
    [job_id] = fill(database, "a", 1)
    assert dispatch() == 0  # the real broker of these tests' settings does not answer
    with database.reading() as session:
        job = session.get_one(Job, job_id)
    assert (job.status, job.rung_at) == ("queued", None), "the next sweep may try again"
