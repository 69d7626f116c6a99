"""The life of a job: submit, claim, and what its user wishes. Knows no type in particular.

Whatever anybody does to a job is called from here; how an attempt ends stands in `ends`, the write
of a status in `transitions`.
"""

from typing import Any

from sqlalchemy import ColumnElement, and_, func, select, true, update
from sqlalchemy.orm import Session

from core.accounts.quotas import require_place_in_queue
from core.db import after_commit, db_now
from core.errors import InvalidInput, JobFailure, NotFound, WrongState
from core.ids import new_id
from core.jobs import dispatch
from core.jobs.carry import carry_over
from core.jobs.claims import Claim, claim_of
from core.jobs.ends import (
    abandon,
    cancelled,
    fail,
    fail_dependents,
    fail_stranded,
    lost_runner,
    paused,
    refuse,
    requeue,
    succeed,
    yielded,
)
from core.jobs.models import Attempt, Job
from core.jobs.status import JobStatus
from core.jobs.transitions import add_event, transition
from core.jobs.types import job_type
from core.jobs.types.base import Params
from core.settings import get_settings

__all__ = [
    "add_event",
    "bring_back",
    "cancelled",
    "claim",
    "expire",
    "fail",
    "fail_stranded",
    "get",
    "lost_runner",
    "paused",
    "request_cancel",
    "request_pause",
    "requeue",
    "resume",
    "retry",
    "submit",
    "succeed",
    "transition",
    "yielded",
]


def submit(
    session: Session,
    project_id: str,
    type_name: str,
    params: Params,
    *,
    priority: int = 0,
    depends_on: str | None = None,
    time_limit_seconds: float | None = None,
    retry_of: str | None = None,
    surface: str | None = None,
    request: dict[str, Any] | None = None,
    labels: dict[str, str] | None = None,
    expires_at: float | None = None,
    refusal: JobFailure | None = None,
) -> Job:
    """Queue a job, or raise what stands in its way. It is rung for after the commit.

    `surface`, `request`, `labels` and `expires_at` are for a facade: see `Job`. `refusal`: what
    stands in its way is known already, and is to be recorded: the job fails here and now.
    """
    kind = job_type(type_name)
    require_place_in_queue(session, project_id)
    waits_for = depends_on if refusal else kind.check(session, project_id, params) or depends_on
    job = Job(
        id=new_id("job"),
        project_id=project_id,
        type=kind.name,
        queue=kind.queue,
        status=JobStatus.QUEUED,
        params=params.model_dump(mode="json"),
        priority=priority,
        depends_on=waits_for,
        time_limit_seconds=time_limit_seconds or kind.time_limit_seconds,
        retry_of=retry_of,
        surface=surface,
        request=request,
        labels=labels or {},
        expires_at=expires_at,
    )
    session.add(job)
    session.flush()
    if refusal is not None:
        return refuse(session, job.id, refusal)
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
        # A message that comes twice must not cut short the wait after a failure.
        only_if=func.coalesce(Job.run_after, 0) <= db_now(),
        token=Job.token + 1,
        worker_id=worker_id,
        lease_expires_at=db_now() + get_settings().lease_seconds,
        started_at=func.coalesce(Job.started_at, db_now()),
        rung_at=None,
        run_after=None,
    )
    if job is None:
        return None
    spent = select(func.sum(Attempt.finished_at - Attempt.started_at)).where(
        Attempt.job_id == job.id
    )
    held = claim_of(job, spent_seconds=session.scalar(spent) or 0.0)
    session.add(Attempt(job_id=job.id, token=job.token, worker_id=worker_id))
    session.flush()
    return held


# -- what the user wishes --------------------------------------------------------------------------


def request_cancel(session: Session, project_id: str, job_id: str) -> Job:
    """A job that nobody works on ends at once; a running one is asked to stop."""
    job = _locked(session, project_id, job_id)
    if job.status == JobStatus.RUNNING:
        message = "Cancellation was requested; the worker is stopping."
        return _wish(session, job, "cancel_requested_at", message)
    done = _end_unclaimed(session, job, "The job was cancelled.")
    if done is None:
        raise WrongState(
            f"The job has ended as '{job.status}'; only one that has not ended can be cancelled.",
            code="job_not_cancellable",
        )
    return done


def expire(session: Session, job_id: str) -> None:
    """Stop a job that has passed its `expires_at`, as its user would by a cancel."""
    job = session.get_one(Job, job_id, populate_existing=True, with_for_update=True)
    if job.status == JobStatus.RUNNING:
        message = "The job's time is over; the worker is stopping."
        _wish(session, job, "cancel_requested_at", message)
    else:
        _end_unclaimed(session, job, "The job's time was over before it was done.")


def _end_unclaimed(session: Session, job: Job, message: str) -> Job | None:
    """Cancel a job that nobody works on; None if it has ended."""
    done = transition(session, job.id, JobStatus.CANCELLED, message)
    if done is not None:
        abandon(session, done, "the job was cancelled")
        fail_dependents(session, done)
    return done


def request_pause(session: Session, project_id: str, job_id: str) -> Job:
    """A queued job is held at once; a running one is asked to save its state and stop; one that has
    made room is not brought back by itself any more."""
    job = _locked(session, project_id, job_id)
    if job.yielded:
        job.yielded = False
        add_event(session, job.id, "The job stays paused until it is resumed.")
        return job
    if job.status == JobStatus.RUNNING:
        message = "A pause was requested; the worker is saving and stopping."
        return _wish(session, job, "pause_requested_at", message)
    held = transition(session, job.id, JobStatus.PAUSED, "The job is paused.", rung_at=None)
    if held is None:
        raise WrongState(
            f"The job is '{job.status}'; only a queued or running one can be paused.",
            code="job_not_pausable",
        )
    return held


def resume(session: Session, project_id: str, job_id: str) -> Job:
    """Queue a paused job again, as its user wishes: it needs a place in the queue as a new one."""
    job = get(session, project_id, job_id)
    if job.status == JobStatus.PAUSED:  # locked before the job's row, as by a submit
        require_place_in_queue(session, project_id)
    return bring_back(session, job)


def bring_back(session: Session, job: Job, *, only_if: ColumnElement[bool] | None = None) -> Job:
    """Queue a paused job again, however many wait; it goes on from its last checkpoint or finished
    row. `WrongState` for one that is not paused any more, or is not as `only_if` says."""
    job = _locked(session, job.project_id, job.id)
    queued = transition(
        session,
        job.id,
        JobStatus.QUEUED,
        "The job is resumed and queued.",
        only_if=and_(Job.status == JobStatus.PAUSED, true() if only_if is None else only_if),
        pause_requested_at=None,
        run_after=None,
        rung_at=None,
    )
    if queued is None:
        stopping = job.status == JobStatus.RUNNING and job.pause_requested_at is not None
        wait = " It is being paused: resume it when it is." if stopping else ""
        raise WrongState(
            f"The job is '{job.status}'; only a paused one can be resumed.{wait}",
            code="job_not_resumable",
        )
    after_commit(session, dispatch.dispatch)
    return queued


def retry(session: Session, project_id: str, job_id: str) -> Job:
    """A new job that goes on where a failed or cancelled one ended: its rows and checkpoints are
    carried over. What its type refuses today is refused here too."""
    job = _locked(session, project_id, job_id)
    if job.status not in (JobStatus.FAILED, JobStatus.CANCELLED):
        raise WrongState(
            f"The job is '{job.status}'; only a failed or cancelled one can be retried.",
            code="job_not_retryable",
        )
    if (job.request or {}).get("errors"):
        raise WrongState(
            "The job was refused for what is in its file; mend the file and make a new one of it.",
            code="job_not_retryable",
        )
    new = submit(
        session,
        project_id,
        job.type,
        _params_of(job),
        priority=job.priority,
        time_limit_seconds=job.time_limit_seconds,
        retry_of=job.id,
    )
    carry_over(session, job, new)
    return new


def _params_of(job: Job) -> Params:
    try:
        return job_type(job.type).params.model_validate(job.params)
    except ValueError as error:  # the platform was upgraded, and a parameter is no more
        raise InvalidInput(
            f"The parameters of job '{job.id}' are not taken any more: {error}. Submit it anew."
        ) from None


def _locked(session: Session, project_id: str, job_id: str) -> Job:
    """The job's row, which nobody writes until the transaction ends."""
    get(session, project_id, job_id)
    return session.get_one(Job, job_id, populate_existing=True, with_for_update=True)


def _wish(session: Session, job: Job, column: str, message: str) -> Job:
    """Note what a running job's worker shall hear, once."""
    if getattr(job, column) is not None:
        return job
    add_event(session, job.id, message)
    statement = update(Job).where(Job.id == job.id).values({column: db_now()}).returning(Job)
    return session.scalars(statement, execution_options={"populate_existing": True}).one()
