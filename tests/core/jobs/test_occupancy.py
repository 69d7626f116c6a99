"""What queues hold and workers do, over all projects."""

from sqlalchemy import update

from core.accounts.service import ensure_project
from core.db import Database, db_now
from core.fleet.models import Worker
from core.jobs.models import Attempt
from core.jobs.occupancy import queues, speed_by_worker, work_by_worker
from tests.core.jobs.jobs import add_job, add_worker
from tests.core.jobs.lives import put, take
from tests.core.plans import plans


def test_a_queue_counts_what_waits_runs_and_is_free(database: Database, project_id: str) -> None:
    with database.transaction() as session:
        add_worker(session, "gpu0@a", slots=2)
        add_worker(session, "gpu1@a")
        add_worker(session, "gone@a")
        session.execute(update(Worker).where(Worker.id == "gone@a").values(stopped_at=1.0))
        add_worker(session, "keeper@a", queue="system")
        running, _, later = (add_job(session, project_id) for _ in range(3))
        add_job(session, project_id, queue="cpu")
        add_job(session, project_id, status="succeeded")
    take(database, running.id)
    put(database, later.id, run_after=db_now() + 60)
    with database.reading() as session:
        cpu, gpu = queues(session)
    assert (gpu.name, gpu.queued, gpu.ready, gpu.running) == ("gpu", 2, 1, 1)
    assert (gpu.slots, gpu.free_slots, gpu.workers) == (3, 2, ["gpu0@a", "gpu1@a"])
    assert 0 <= gpu.oldest_wait_seconds < 60
    assert (cpu.name, cpu.queued, cpu.slots, cpu.workers) == ("cpu", 1, 0, [])


def test_a_worker_is_shown_with_the_job_that_it_has(database: Database, project_id: str) -> None:
    with database.transaction() as session:
        mine = add_job(session, project_id)
        other = add_job(session, ensure_project(session, "other").id)
    take(database, mine.id, "gpu0@a")
    take(database, other.id, "gpu1@a")
    with database.reading() as session:
        work = work_by_worker(session)
    assert {name: [one.job_id for one in jobs] for name, jobs in work.items()} == {
        "gpu0@a": [mine.id],
        "gpu1@a": [other.id],
    }
    assert work["gpu1@a"][0].project_id != project_id


def test_a_workers_speed_is_that_of_its_last_finished_job_of_a_type(
    database: Database, project_id: str
) -> None:
    finished = [
        ("train", "gpu0@a", {"tokens_per_second": 100.0}),
        ("train", "gpu0@a", {"tokens_per_second": 300.0}),
        ("evaluate", "gpu0@a", {"requests_per_second": 4.5}),
        ("merge", "gpu0@a", {"bytes": 1}),
        ("generate", "gpu1@a", {}),
    ]
    with database.transaction() as session:
        for at, (kind, worker, result) in enumerate(finished):
            job = add_job(session, project_id, type=kind, status="succeeded", result=result)
            session.add(
                Attempt(
                    job_id=job.id, token=1, worker_id=worker, outcome="succeeded", finished_at=at
                )
            )
        failed = add_job(
            session, project_id, type="train", status="failed", result={"tokens_per_second": 9}
        )
        session.add(Attempt(job_id=failed.id, token=1, worker_id="gpu0@a", outcome="failed"))
    with database.reading() as session:
        assert speed_by_worker(session) == {
            "gpu0@a": {"train_tokens_per_second": 300.0, "evaluate_requests_per_second": 4.5}
        }


def test_speeds_are_read_from_the_newest_attempts_and_not_sorted_out_of_all(
    database: Database,
) -> None:
    with database.reading() as session:
        [found] = plans(session, speed_by_worker)
    assert "ix_attempts_outcome_finished_at" in found
    assert "ORDER BY" not in found and "Sort" not in found
