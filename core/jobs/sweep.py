"""What the keeper mends: claims whose lease ran out, jobs that wait in vain or whose time is over.
Knows no caller."""

import logging
from collections.abc import Callable
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from core.db import db_now, get_database
from core.jobs import service
from core.jobs.claims import claim_of
from core.jobs.dispatch import dispatch
from core.jobs.models import Job
from core.jobs.status import LIVE, JobStatus

log = logging.getLogger(__name__)


def sweep() -> int:
    """Give back every job whose lease ran out, end what waits in vain, stop what has expired, then
    ring; returns how many jobs were given back."""
    with get_database().reading() as session:
        lapsed = session.execute(select(Job.id, Job.token).where(*_lapsed())).all()
        stranded = session.scalars(_stranded()).all()
        expired = session.scalars(_expired()).all()
    given_back = sum(_each(_give_back, job_id, token) for job_id, token in lapsed)
    for job_id in stranded:
        _each(service.fail_stranded, job_id)
    for job_id in expired:
        _each(service.expire, job_id)
    dispatch()
    return given_back


def _each(mend: Callable[..., None], *arguments: Any) -> bool:
    """One transaction each: a job that can't be mended must not hold up its neighbours."""
    try:
        with get_database().transaction() as session:
            mend(session, *arguments)
    except Exception:
        log.exception("could not mend %s", arguments[0])
        return False
    return True


def _stranded():
    """Queued jobs that wait for one which ended otherwise than well: it may have ended in the very
    moment in which they were submitted."""
    awaited = aliased(Job)
    ended = (JobStatus.FAILED, JobStatus.CANCELLED)
    return (
        select(Job.id)
        .join(awaited, awaited.id == Job.depends_on)
        .where(Job.status == JobStatus.QUEUED, awaited.status.in_(ended))
    )


def _expired():
    """Jobs that have not ended in time and were not told to."""
    return select(Job.id).where(
        Job.status.in_(LIVE), Job.expires_at < db_now(), Job.cancel_requested_at.is_(None)
    )


def _lapsed():
    # coalesce: a row that never had a lease would otherwise run for ever (NULL < x is not true).
    return Job.status == JobStatus.RUNNING, func.coalesce(Job.lease_expires_at, 0) < db_now()


def _give_back(session: Session, job_id: str, token: int) -> None:
    job = session.scalar(
        select(Job).where(Job.id == job_id, Job.token == token, *_lapsed()).with_for_update()
    )
    if job is None:
        return  # its worker came back, or another sweep was quicker
    message = f"Worker {job.worker_id} was not heard of for the length of the lease."
    log.warning("job %s: %s", job_id, message)
    service.lost_runner(session, claim_of(job), message, klass="lease")
