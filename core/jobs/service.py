"""The life of a job: submit, claim, renew, record, end. Knows neither HTTP nor Celery.

The row is the queue. `transition` is the one function that writes a status: a conditional UPDATE
(allowed sources, and for a worker's write the token that it holds) plus the event, in the caller's
transaction. Zero rows: the claim is lost; stop, and write nothing.
"""

from typing import Any

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from core.artifacts.service import record_files
from core.db import after_commit, db_now
from core.errors import JobFailure, NotFound, WrongState
from core.ids import new_id
from core.jobs import dispatch
from core.jobs.claims import Claim, LostClaim, claim_of, hold
from core.jobs.models import Attempt, Job, JobEvent
from core.jobs.status import FINAL, JobStatus, sources
from core.jobs.types import job_type
from core.jobs.types.base import Outcome, Params
from core.settings import get_settings


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
    return job


def add_event(
    session: Session,
    job_id: str,
    message: str,
    *,
    level: str = "info",
    data: dict[str, Any] | None = None,
) -> None:
    session.add(JobEvent(job_id=job_id, level=level, message=message, data=data or {}))


def submit(
    session: Session,
    project_id: str,
    type_name: str,
    params: Params,
    *,
    priority: int = 0,
    depends_on: str | None = None,
) -> Job:
    """Queue a job, or raise what stands in its way. It is rung for after the commit."""
    kind = job_type(type_name)
    waits_for = kind.check(session, project_id, params) or depends_on
    job = Job(
        id=new_id("job"),
        project_id=project_id,
        type=kind.name,
        queue=kind.queue,
        status=JobStatus.QUEUED,
        params=params.model_dump(mode="json"),
        priority=priority,
        depends_on=waits_for,
        time_limit_seconds=kind.time_limit_seconds,
    )
    session.add(job)
    session.flush()
    kind.begin(session, job)
    add_event(session, job.id, f"The {kind.name} job is queued.", data={"status": job.status})
    after_commit(session, dispatch.dispatch)
    return job


def get(session: Session, project_id: str, job_id: str) -> Job:
    job = session.scalar(select(Job).where(Job.id == job_id, Job.project_id == project_id))
    if job is None:
        raise NotFound(f"There is no job '{job_id}' in this project.", param="job_id")
    return job


def claim(session: Session, job_id: str, worker_id: str) -> Claim | None:
    """Take a queued job for this worker, or None if it is not to be had."""
    job = transition(
        session,
        job_id,
        JobStatus.RUNNING,
        f"Worker {worker_id} has taken the job.",
        token=Job.token + 1,
        worker_id=worker_id,
        lease_expires_at=db_now() + get_settings().lease_seconds,
        started_at=func.coalesce(Job.started_at, db_now()),
        rung_at=None,
    )
    if job is None:
        return None
    session.add(Attempt(job_id=job.id, token=job.token, worker_id=worker_id))
    session.flush()
    return claim_of(job)


def succeed(session: Session, held: Claim, outcome: Outcome) -> Job:
    """Record a finished attempt: what it published and the status in one transaction."""
    hold(session, held)
    job = session.get_one(Job, held.job_id, populate_existing=True)
    record_files(session, job.project_id, job.id, outcome.storage_key, outcome.files)
    refusal = job_type(job.type).publish(session, job, outcome)
    if refusal is not None:
        return _end_failed(session, held, refusal, result=outcome.result)
    return _end(
        session, held, JobStatus.SUCCEEDED, f"The {job.type} job succeeded.", result=outcome.result
    )


def fail(session: Session, held: Claim, failure: JobFailure) -> Job:
    """Record a failure that trying again would not mend."""
    job = _end_failed(session, held, failure)
    job_type(job.type).abandon(session, job, failure.message)
    return job


def cancelled(session: Session, held: Claim) -> Job:
    """The runner has stopped because the user wished it."""
    job = _end(session, held, JobStatus.CANCELLED, "The job was cancelled.")
    job_type(job.type).abandon(session, job, "the job was cancelled")
    return job


def requeue(session: Session, held: Claim, *, outcome: str, message: str) -> Job:
    """Give the job back after a drain: the attempt is not held against it."""
    if _cancel_wished(session, held):
        return cancelled(session, held)
    job = transition(session, held.job_id, JobStatus.QUEUED, message, held=held.token, rung_at=None)
    if job is None:
        raise LostClaim(held.job_id)
    _close_attempt(session, held.job_id, held.token, outcome, message)
    after_commit(session, dispatch.dispatch)
    return job


def lost_runner(session: Session, held: Claim, message: str) -> Job:
    """The runner died under a live supervisor: again, unless it does so without end."""
    if _cancel_wished(session, held):
        return cancelled(session, held)
    return requeue_or_quarantine(session, held.job_id, held.token, message)


def _cancel_wished(session: Session, held: Claim) -> bool:
    hold(session, held)
    job = session.get_one(Job, held.job_id, populate_existing=True)
    return job.cancel_requested_at is not None


def requeue_or_quarantine(session: Session, job_id: str, token: int, message: str) -> Job:
    """Queue a job whose attempt died, or fail it after too many that brought nothing new."""
    job = session.get_one(Job, job_id, populate_existing=True)
    barren = job.barren_attempts + 1
    _close_attempt(session, job_id, token, "lost", message)
    after_commit(session, dispatch.dispatch)
    if barren < get_settings().max_barren_attempts:
        queued = transition(
            session,
            job_id,
            JobStatus.QUEUED,
            f"{message} It is queued again.",
            held=token,
            level="warning",
            barren_attempts=barren,
            rung_at=None,
        )
        if queued is None:
            raise LostClaim(job_id)
        return queued
    failure = JobFailure(
        "crash",
        f"{message} {barren} attempts in a row died without a new checkpoint or row, so the job is "
        "not tried again. Its log says what the last one did.",
    )
    job = _fail_row(session, job_id, failure, held=token)
    job_type(job.type).abandon(session, job, failure.message)
    return job


def request_cancel(session: Session, project_id: str, job_id: str) -> Job:
    """A queued job ends at once; a running one is asked to stop. An ended one is `WrongState`."""
    job = get(session, project_id, job_id)
    # Only one that nobody works on: a running one is its worker's to end.
    waiting = Job.status.in_((JobStatus.QUEUED, JobStatus.PAUSED))
    done = transition(
        session, job.id, JobStatus.CANCELLED, "The job was cancelled.", only_if=waiting
    )
    if done is not None:
        job_type(job.type).abandon(session, done, "the job was cancelled")
        _fail_dependents(session, done)
        return done
    asked = session.scalar(
        update(Job)
        .where(Job.id == job.id, Job.status == JobStatus.RUNNING)
        .values(cancel_requested_at=func.coalesce(Job.cancel_requested_at, db_now()))
        .returning(Job),
        execution_options={"populate_existing": True},
    )
    if asked is None:
        session.refresh(job)
        raise WrongState(
            f"The job has ended as '{job.status}'; only a queued or running one can be cancelled.",
            code="job_not_cancellable",
        )
    add_event(session, job.id, "Cancellation was requested; the worker is stopping.")
    return asked


def _end(
    session: Session,
    held: Claim,
    to: JobStatus,
    message: str,
    *,
    level: str = "info",
    **values: Any,
) -> Job:
    job = transition(session, held.job_id, to, message, held=held.token, level=level, **values)
    if job is None:
        raise LostClaim(held.job_id)
    _close_attempt(session, held.job_id, held.token, to, message)
    if to != JobStatus.SUCCEEDED:
        _fail_dependents(session, job)
    after_commit(session, dispatch.dispatch)
    return job


def _end_failed(session: Session, held: Claim, failure: JobFailure, **values: Any) -> Job:
    job = _fail_row(session, held.job_id, failure, held=held.token, **values)
    _close_attempt(session, held.job_id, held.token, JobStatus.FAILED, failure.message)
    after_commit(session, dispatch.dispatch)
    return job


def _fail_row(
    session: Session, job_id: str, failure: JobFailure, *, held: int | None = None, **values: Any
) -> Job:
    error = {"class": failure.klass, "message": failure.message, **failure.details}
    job = transition(
        session,
        job_id,
        JobStatus.FAILED,
        failure.message,
        held=held,
        level="error",
        data={"class": failure.klass},
        error=error,
        **values,
    )
    if job is None:
        raise LostClaim(job_id)
    _fail_dependents(session, job)
    return job


def _fail_dependents(session: Session, job: Job) -> None:
    """What waits for a job that won't succeed can't run either."""
    waiting = session.scalars(
        select(Job).where(Job.depends_on == job.id, Job.status == JobStatus.QUEUED)
    ).all()
    for dependent in waiting:
        _fail_waiting(session, dependent.id, job)


def fail_stranded(session: Session, job_id: str) -> None:
    """End a queued job whose awaited job has ended otherwise than well."""
    job = session.get_one(Job, job_id)
    _fail_waiting(session, job_id, session.get_one(Job, job.depends_on))


def _fail_waiting(session: Session, job_id: str, awaited: Job) -> None:
    failure = JobFailure(
        "data", f"It waited for job {awaited.id} ({awaited.type}), which ended as {awaited.status}."
    )
    try:
        ended = _fail_row(session, job_id, failure)
    except LostClaim:
        return  # it was cancelled in this moment, which is as good
    job_type(ended.type).abandon(session, ended, failure.message)


def _close_attempt(session: Session, job_id: str, token: int, outcome: str, message: str) -> None:
    session.execute(
        update(Attempt)
        .where(Attempt.job_id == job_id, Attempt.token == token, Attempt.outcome.is_(None))
        .values(outcome=str(outcome), message=message, finished_at=db_now())
    )
