"""How an attempt ends, and what becomes of its job. Every write is fenced by the claim.

Whatever ends an attempt without ending its job (a drain, a death, a failure that is tried again)
asks the row first what the user wished in the meantime: a cancel beats a pause, a pause the queue.
"""

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.artifacts.service import record_files
from core.db import after_commit, db_now
from core.errors import JobFailure
from core.jobs import dispatch
from core.jobs.claims import Claim, LostClaim, hold
from core.jobs.models import Attempt, Job
from core.jobs.retries import RULES
from core.jobs.status import JobStatus
from core.jobs.transitions import transition
from core.jobs.types import job_type
from core.jobs.types.base import Outcome
from core.redaction import redact
from core.settings import get_settings

YIELDED = "yielded"
"""The outcome of an attempt that has made room for others; its job is paused."""

# -- the attempt was the last one ------------------------------------------------------------------


def succeed(session: Session, held: Claim, outcome: Outcome) -> Job:
    """Record a finished attempt: what it published and the status in one transaction."""
    job = _held(session, held)
    record_files(session, job.project_id, job.id, outcome.storage_key, outcome.files)
    refusal = job_type(job.type).publish(session, job, outcome)
    if refusal is not None:
        return _end_failed(session, held, refusal, result=outcome.result)
    message = f"The {job.type} job succeeded."
    return _end(session, held, JobStatus.SUCCEEDED, message, result=outcome.result)


def cancelled(session: Session, held: Claim) -> Job:
    """The runner has stopped because the user wished it."""
    job = _end(session, held, JobStatus.CANCELLED, "The job was cancelled.")
    abandon(session, job, "the job was cancelled")
    return job


def fail(session: Session, held: Claim, failure: JobFailure) -> Job:
    """Record a failure: the job's end, unless the rule of its class says that it is tried again."""
    job = _held(session, held)
    rule = RULES[failure.klass]
    if job.retries < rule.times:
        return _try_again(session, held, failure, retried=job.retries)
    if rule.times:
        failure = _given_up(failure, job.id, times=rule.times + 1)
    job = _end_failed(session, held, failure)
    abandon(session, job, failure.message)
    return job


# -- the attempt ends, the job goes on -------------------------------------------------------------


def paused(
    session: Session,
    held: Claim,
    *,
    outcome: str = "paused",
    message: str = "",
    klass: str | None = None,
    **values: Any,
) -> Job:
    """The runner has stopped because the user wished to pause: held until they resume it."""
    if _held(session, held).cancel_requested_at is not None:
        return cancelled(session, held)
    message = f"{message} The job is paused.".strip()
    values |= {"pause_requested_at": None}
    return _leave(session, held, JobStatus.PAUSED, outcome, message, klass=klass, **values)


def yielded(session: Session, held: Claim) -> Job:
    """The runner has stopped because other jobs wait for its slot. Queued at once, it would get it
    again before them, by its age: it is held until somebody needs it, or if its user wished a pause
    in this moment, until they resume it."""
    if _held(session, held).pause_requested_at is not None:
        return paused(session, held)
    message = "It has made room for jobs that wait."
    return paused(session, held, outcome=YIELDED, message=message, yielded=True)


def requeue(session: Session, held: Claim, *, outcome: str, message: str) -> Job:
    """Give the job back after a drain: the attempt is not held against it."""
    return _as_wished(session, held, outcome, message) or _leave(
        session, held, JobStatus.QUEUED, outcome, message
    )


def lost_runner(
    session: Session, held: Claim, message: str, *, klass: str = "crash", barren: bool = True
) -> Job:
    """The runner died, alone or with its worker: again, unless it does so without end. It is not
    held against the job (`barren`) if the next attempt will ask for less."""
    done = _as_wished(session, held, "lost", message, klass=klass)
    if done is not None:
        return done
    deaths = _held(session, held).barren_attempts + barren
    if deaths < get_settings().max_barren_attempts:
        message = f"{message} It is queued again."
        return _leave(
            session,
            held,
            JobStatus.QUEUED,
            "lost",
            message,
            klass=klass,
            level="warning",
            barren_attempts=deaths,
        )
    failure = JobFailure(
        "oom_host" if klass == "oom_host" else "crash",
        f"{message} {deaths} attempts in a row died without a new checkpoint or row, so the job is "
        "not tried again. Its log says what the last one did.",
    )
    job = _end_failed(session, held, failure, outcome="lost", klass=klass)
    abandon(session, job, failure.message)
    return job


def _try_again(session: Session, held: Claim, failure: JobFailure, *, retried: int) -> Job:
    done = _as_wished(session, held, JobStatus.FAILED, failure.message, klass=failure.klass)
    if done is not None:
        return done
    rule = RULES[failure.klass]
    wait = rule.wait_seconds(retried)
    return _leave(
        session,
        held,
        JobStatus.QUEUED,
        JobStatus.FAILED,
        f"{failure.message} It is tried again in {wait:.0f} s ({retried + 1} of {rule.times}).",
        klass=failure.klass,
        level="warning",
        data={"class": failure.klass},
        retries=retried + 1,
        run_after=db_now() + wait,
    )


def _given_up(failure: JobFailure, job_id: str, *, times: int) -> JobFailure:
    more = f"It was tried {times} times; when that is mended, POST /v1/jobs/{job_id}/retry goes on."
    return JobFailure(failure.klass, f"{failure.message} {more}", **failure.details)


def _as_wished(
    session: Session, held: Claim, outcome: str, message: str, *, klass: str | None = None
) -> Job | None:
    """Cancel or pause the job, if the user asked for it while the attempt ran."""
    job = _held(session, held)
    if job.cancel_requested_at is not None:
        return cancelled(session, held)
    if job.pause_requested_at is not None:
        return paused(session, held, outcome=outcome, message=message, klass=klass)
    return None


def _leave(
    session: Session,
    held: Claim,
    to: JobStatus,
    outcome: str,
    message: str,
    *,
    klass: str | None = None,
    **values: Any,
) -> Job:
    """Close the attempt, and let the job wait for its next."""
    job = transition(
        session, held.job_id, to, message, held=held.token, **{"rung_at": None, **values}
    )
    if job is None:
        raise LostClaim(held.job_id)
    _close_attempt(session, held, outcome, message, klass=klass)
    after_commit(session, dispatch.dispatch)
    return job


# -- the job ends ----------------------------------------------------------------------------------


def _held(session: Session, held: Claim) -> Job:
    """The job's row, locked for this attempt, or `LostClaim`."""
    hold(session, held)
    return session.get_one(Job, held.job_id, populate_existing=True)


def _end(session: Session, held: Claim, to: JobStatus, message: str, **values: Any) -> Job:
    job = transition(session, held.job_id, to, message, held=held.token, **values)
    if job is None:
        raise LostClaim(held.job_id)
    _close_attempt(session, held, to, message)
    if to != JobStatus.SUCCEEDED:
        fail_dependents(session, job)
    after_commit(session, dispatch.dispatch)
    return job


def _end_failed(
    session: Session,
    held: Claim,
    failure: JobFailure,
    *,
    outcome: str = JobStatus.FAILED,
    klass: str | None = None,
    **values: Any,
) -> Job:
    job = _fail_row(session, held.job_id, failure, held=held.token, **values)
    _close_attempt(session, held, outcome, failure.message, klass=klass or failure.klass)
    after_commit(session, dispatch.dispatch)
    return job


def refuse(session: Session, job_id: str, failure: JobFailure) -> Job:
    """End a job that was never to be had: all that it is for is to say why."""
    return _fail_row(session, job_id, failure, only_if=Job.status == JobStatus.QUEUED)


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
    fail_dependents(session, job)
    return job


def _close_attempt(
    session: Session, held: Claim, outcome: str, message: str, *, klass: str | None = None
) -> None:
    session.execute(
        update(Attempt)
        .where(
            Attempt.job_id == held.job_id, Attempt.token == held.token, Attempt.outcome.is_(None)
        )
        .values(outcome=str(outcome), failure=klass, message=redact(message), finished_at=db_now())
    )


def abandon(session: Session, job: Job, reason: str) -> None:
    """Let the job's type set right what it began."""
    job_type(job.type).abandon(session, job, reason)


# -- those that wait for it ------------------------------------------------------------------------


def fail_dependents(session: Session, job: Job) -> None:
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
        ended = _fail_row(session, job_id, failure, only_if=Job.status == JobStatus.QUEUED)
    except LostClaim:
        return  # it was cancelled or paused in this moment, which is as good
    abandon(session, ended, failure.message)
