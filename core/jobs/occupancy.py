"""What queues hold and what workers do and have done: the live view. Knows no job type's contract.

Counts are of all projects; whose a job is, its caller has to ask (`Work.project_id`).
"""

from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.fleet.models import Worker
from core.fleet.service import KEEPER_QUEUE, live_workers
from core.jobs.figures import waiting_by_queue
from core.jobs.models import Attempt, Job
from core.jobs.status import JobStatus

SPEEDS = {
    "train": "tokens_per_second",
    "evaluate": "requests_per_second",
    "generate": "requests_per_second",
}
"""What a result of each type says of the speed of the worker that had the job."""

REMEMBERED = 500
"""Attempts that are looked through for them, the newest."""


@dataclass(frozen=True)
class Work:
    """A job that a worker has now."""

    job_id: str
    project_id: str
    type: str
    started_at: float
    progress: dict | None


@dataclass(frozen=True)
class Queue:
    """`queued`: all that wait; `ready`: those of them that may run now."""

    name: str
    queued: int
    ready: int
    running: int
    slots: int
    oldest_wait_seconds: float | None
    workers: list[str]

    @property
    def free_slots(self) -> int:
        return max(0, self.slots - self.running)


def queues(session: Session) -> list[Queue]:
    """Every queue that has a worker or a job, by name; the keeper's own has no jobs."""
    workers: dict[str, list[Worker]] = defaultdict(list)
    for worker in live_workers(session):
        workers[worker.queue].append(worker)
    counts = _counts(session)
    waiting = {one.queue: one for one in waiting_by_queue(session)}
    return [
        Queue(
            name=name,
            queued=counts.get((name, JobStatus.QUEUED), 0),
            ready=waiting[name].jobs if name in waiting else 0,
            running=counts.get((name, JobStatus.RUNNING), 0),
            slots=sum(worker.slots for worker in workers[name]),
            oldest_wait_seconds=waiting[name].seconds if name in waiting else None,
            workers=[worker.id for worker in workers[name]],
        )
        for name in sorted({*workers, *(queue for queue, _ in counts)} - {KEEPER_QUEUE})
    ]


def _counts(session: Session) -> dict[tuple[str, str], int]:
    rows = session.execute(
        select(Job.queue, Job.status, func.count())
        .where(Job.status.in_((JobStatus.QUEUED, JobStatus.RUNNING)))
        .group_by(Job.queue, Job.status)
    )
    return {(queue, status): count for queue, status, count in rows}


def work_by_worker(session: Session) -> dict[str, list[Work]]:
    rows = session.execute(
        select(Job.worker_id, Job.id, Job.project_id, Job.type, Attempt.started_at, Job.progress)
        .join(Attempt, (Attempt.job_id == Job.id) & (Attempt.token == Job.token))
        .where(Job.status == JobStatus.RUNNING)
        .order_by(Job.id)
    )
    found: dict[str, list[Work]] = defaultdict(list)
    for worker_id, *work in rows:
        found[worker_id].append(Work(*work))
    return found


def speed_by_worker(session: Session) -> dict[str, dict[str, float]]:
    """Of each worker, by type of job, the speed of the last one that it finished."""
    newest = (
        select(Attempt.worker_id, Job.type, Job.id)
        .join(Job, Job.id == Attempt.job_id)
        .where(Attempt.outcome == JobStatus.SUCCEEDED, Job.type.in_(SPEEDS))
        .order_by(Attempt.finished_at.desc())
        .limit(REMEMBERED)
    )
    last: dict[tuple[str, str], str] = {}
    for worker_id, kind, job_id in session.execute(newest):
        last.setdefault((worker_id, kind), job_id)
    speeds: dict[str, dict[str, float]] = defaultdict(dict)
    for (worker_id, kind), job_id in last.items():
        said = session.scalar(select(Job.result[SPEEDS[kind]].as_float()).where(Job.id == job_id))
        if said is not None:
            speeds[worker_id][f"{kind}_{SPEEDS[kind]}"] = round(said, 3)
    return speeds
