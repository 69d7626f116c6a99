"""What the tables say of the platform as a whole, for its operator. Knows no format.

No name, id or project leaves this file: operators see numbers, never whose they are.
"""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, case, func, or_, select
from sqlalchemy.orm import Session, aliased

from core.db import db_now
from core.jobs.models import Attempt, Checkpoint, Job, JobEvent
from core.jobs.status import JobStatus


@dataclass(frozen=True)
class Waiting:
    """Queued jobs of a queue that may run now, and since when the oldest has been one."""

    queue: str
    jobs: int
    seconds: float


@dataclass(frozen=True)
class Checkpoints:
    """All that were ever written: number, bytes and time; and what is kept of them."""

    written: int
    bytes: int
    seconds: float
    kept_bytes: int


def jobs_by_status(session: Session) -> list[tuple[str, str, int]]:
    rows = session.execute(select(Job.type, Job.status, func.count()).group_by("type", "status"))
    return [(kind, status, count) for kind, status, count in rows]


def attempts_by_outcome(session: Session) -> list[tuple[str, str, int]]:
    """Ended attempts: outcome, failure class ("" for none), number."""
    failure = func.coalesce(Attempt.failure, "")
    rows = session.execute(
        select(Attempt.outcome, failure, func.count())
        .where(Attempt.outcome.is_not(None))
        .group_by(Attempt.outcome, failure)
    )
    return [(outcome, klass, count) for outcome, klass, count in rows]


def waiting_by_queue(session: Session) -> list[Waiting]:
    since = _waiting_since()
    rows = session.execute(
        select(since.c.queue, func.count(), db_now() - func.min(since.c.since)).group_by("queue")
    )
    return [Waiting(queue, count, max(0.0, age)) for queue, count, age in rows]


def checkpoints(session: Session) -> Checkpoints:
    written, size, seconds = session.execute(
        select(
            func.coalesce(func.sum(Attempt.checkpoints), 0),
            func.coalesce(func.sum(Attempt.checkpoint_bytes), 0),
            func.coalesce(func.sum(Attempt.checkpoint_seconds), 0.0),
        )
    ).one()
    # A retried job's row points to the bytes of the job before it: they are kept once.
    single = select(func.max(Checkpoint.bytes).label("bytes")).group_by(Checkpoint.storage_key)
    kept = session.scalar(select(func.coalesce(func.sum(single.subquery().c.bytes), 0)))
    return Checkpoints(int(written), int(size), float(seconds), int(kept))


def _waiting_since():
    """Queue and moment since when it could run, of each queued job that may run now."""
    awaited = aliased(Job)
    queued = (
        select(func.max(JobEvent.created_at))
        .where(
            JobEvent.job_id == Job.id, JobEvent.data["status"].as_string() == JobStatus.QUEUED.value
        )
        .correlate(Job)
        .scalar_subquery()
    )
    own = _later(func.coalesce(queued, Job.created_at), func.coalesce(Job.run_after, 0.0))
    query: Select[tuple[str, float]] = (
        select(Job.queue, _later(own, func.coalesce(awaited.finished_at, 0.0)).label("since"))
        .outerjoin(awaited, awaited.id == Job.depends_on)
        .where(
            Job.status == JobStatus.QUEUED,
            func.coalesce(Job.run_after, 0) <= db_now(),
            or_(Job.depends_on.is_(None), awaited.status == JobStatus.SUCCEEDED),
        )
    )
    return query.subquery()


def _later(left: ColumnElement[float], right: ColumnElement[float]) -> ColumnElement[float]:
    """The greater of two; the databases call that by different names."""
    return case((left > right, left), else_=right)
