"""What the keeper mends: claims whose lease ran out. Knows nothing of who calls it."""

import logging

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.db import db_now, get_database
from core.jobs import service
from core.jobs.claims import claim_of
from core.jobs.dispatch import dispatch
from core.jobs.models import Job
from core.jobs.status import JobStatus

log = logging.getLogger(__name__)


def sweep() -> int:
    """Give back every job whose lease ran out, then ring; returns how many were given back."""
    database = get_database()
    with database.reading() as session:
        lapsed = session.execute(select(Job.id, Job.token).where(*_lapsed())).all()
    for job_id, token in lapsed:
        # One transaction each: a job that can't be mended must not hold up its neighbours.
        with database.transaction() as session:
            _give_back(session, job_id, token)
    dispatch()
    return len(lapsed)


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
    if job.cancel_requested_at is not None:
        service.cancelled(session, claim_of(job))
        return
    service.requeue_or_quarantine(session, job_id, token, message)
