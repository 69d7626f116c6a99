"""The one function that writes a status, and the events beside it. Knows no job type.

A conditional UPDATE (allowed sources, and for a worker's write the token that it holds) plus the
event, in the caller's transaction. Zero rows: the claim is lost; stop, and write nothing.
"""

from typing import Any

from sqlalchemy import ColumnElement, update
from sqlalchemy.orm import Session

from core.db import db_now
from core.jobs.models import Job, JobEvent
from core.jobs.status import FINAL, JobStatus, sources
from core.redaction import redact
from core.webhooks import outbox


def transition(
    session: Session,
    job_id: str,
    to: JobStatus,
    message: str,
    *,
    held: int | None = None,
    only_if: ColumnElement[bool] | None = None,
    level: str = "info",
    data: dict[str, Any] | None = None,
    **values: Any,
) -> Job | None:
    """Write a status, if the table of transitions and the held token allow it, and its event."""
    values = {"yielded": False} | values
    allowed = [Job.id == job_id, Job.status.in_(sources(to))]
    if only_if is not None:
        allowed.append(only_if)
    if held is not None:  # a worker presumed dead can't end a job that was given to another
        allowed += [Job.token == held, Job.status == JobStatus.RUNNING]
    if to != JobStatus.RUNNING:
        values |= {"lease_expires_at": None, "worker_id": None}
    if to in FINAL:
        values |= {"finished_at": db_now()}
    statement = update(Job).where(*allowed).values(status=to, **values).returning(Job)
    job = session.scalar(statement, execution_options={"populate_existing": True})
    if job is not None:
        add_event(session, job_id, message, level=level, data={"status": to, **(data or {})})
        if to in FINAL:
            outbox.job_ended(session, job)
    return job


def add_event(
    session: Session,
    job_id: str,
    message: str,
    *,
    level: str = "info",
    data: dict[str, Any] | None = None,
) -> None:
    event = JobEvent(job_id=job_id, level=level, message=redact(message), data=data or {})
    session.add(event)
