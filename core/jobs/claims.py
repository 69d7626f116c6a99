"""The right to write for a job: held by one attempt at a time, kept alive by renewing its lease.

Every write of a worker goes through `hold` here or through `transition(held=…)`.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.db import db_now
from core.jobs.models import Job
from core.jobs.status import JobStatus
from core.settings import get_settings


@dataclass(frozen=True)
class Claim:
    """The right to write for a job, good while its token is the row's and its lease runs."""

    job_id: str
    project_id: str
    type: str
    token: int
    time_limit_seconds: float
    spent_seconds: float = 0.0
    """What earlier attempts have used of the time limit."""


@dataclass(frozen=True)
class Wishes:
    """What the user asked of a running job."""

    cancel: bool
    pause: bool


class LostClaim(Exception):
    """Another attempt holds the job, or it has ended: whoever gets this writes nothing more."""


def claim_of(job: Job, *, spent_seconds: float = 0.0) -> Claim:
    """The claim under which a job runs at this moment."""
    return Claim(job.id, job.project_id, job.type, job.token, job.time_limit_seconds, spent_seconds)


def renew(session: Session, held: Claim) -> Wishes:
    """Extend the lease by the database's clock and hear what the user wants; or `LostClaim`."""
    row = session.execute(
        update(Job)
        .where(Job.id == held.job_id, Job.token == held.token, Job.status == JobStatus.RUNNING)
        .values(lease_expires_at=db_now() + get_settings().lease_seconds)
        .returning(Job.cancel_requested_at, Job.pause_requested_at)
    ).one_or_none()
    if row is None:
        raise LostClaim(held.job_id)
    return Wishes(cancel=row[0] is not None, pause=row[1] is not None)


def wishes(session: Session, held: Claim) -> Wishes:
    """As `renew`, without a write: cheap enough to ask each second."""
    row = session.execute(
        select(Job.cancel_requested_at, Job.pause_requested_at).where(
            Job.id == held.job_id, Job.token == held.token, Job.status == JobStatus.RUNNING
        )
    ).one_or_none()
    if row is None:
        raise LostClaim(held.job_id)
    return Wishes(cancel=row[0] is not None, pause=row[1] is not None)


def hold(session: Session, held: Claim, **values: Any) -> None:
    """Lock the job's row for this attempt within the transaction, or raise `LostClaim`."""
    found = session.execute(
        update(Job)
        .where(Job.id == held.job_id, Job.token == held.token, Job.status == JobStatus.RUNNING)
        .values(**(values or {"token": Job.token}))
    )
    if found.rowcount != 1:
        raise LostClaim(held.job_id)
