"""`/v1/jobs`: every job of every type, and what it leaves behind."""

from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field, create_model
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.deps import PageDep, ReadDep, Reader, SessionDep, Writer
from api.idempotency import OnceDep
from api.schemas.common import ListBody, list_body
from api.schemas.resources import (
    AttemptShape,
    CheckpointShape,
    EventShape,
    JobShape,
    MetricShape,
    RowShape,
    attempt_shape,
    checkpoint_shape,
    event_shape,
    job_shape,
)
from api.streams import RESPONSES, LastEventId, page_or_stream
from core.artifacts.service import of_job as artifacts_of
from core.closed import Closed
from core.jobs import records, service
from core.jobs.listing import read_jobs
from core.jobs.models import Checkpoint, Job, JobEvent, Metric, ResultRow
from core.jobs.status import JobStatus
from core.jobs.types import TYPES
from core.jobs.types.base import JobType
from core.pages import Page, PageQuery, read_page

router = APIRouter(prefix="/jobs", tags=["jobs"])

LONGEST_SECONDS = 30 * 24 * 3600


def _request_model(kind: JobType) -> type[BaseModel]:
    """The body of a submit of one type: `type` tells them apart, `params` is the contract's."""
    return create_model(
        f"{kind.name.capitalize()}Request",
        __base__=Closed,
        type=(Literal[kind.name], ...),
        params=(kind.params, ...),
        priority=(Annotated[int, Field(ge=-100, le=100)], 0),
        time_limit_seconds=(Annotated[float, Field(gt=0, le=LONGEST_SECONDS)] | None, None),
    )


JobRequest = Annotated[
    reduce(or_, (_request_model(kind) for kind in TYPES)), Field(discriminator="type")
]


@router.post("", status_code=202)
def submit_job(body: JobRequest, once: OnceDep, session: SessionDep, principal: Writer) -> JobShape:
    """Queue a job. What can't run is refused here, with the reason."""
    once.begin(session)
    job = service.submit(
        session,
        principal.project_id,
        body.type,
        body.params,
        priority=body.priority,
        time_limit_seconds=body.time_limit_seconds,
    )
    return once.answer(session, job_shape(job))


@router.get("")
def list_jobs(
    session: ReadDep,
    principal: Reader,
    page: PageDep,
    type: str | None = None,
    status: JobStatus | None = None,
) -> ListBody[JobShape]:
    """`params` of more than 64 KiB are null here; the job itself has them."""
    query = select(Job).where(Job.project_id == principal.project_id)
    if type is not None:
        query = query.where(Job.type == type)
    if status is not None:
        query = query.where(Job.status == status)
    return list_body(read_jobs(session, query, page), job_shape)


@router.get("/{job_id}")
def get_job(job_id: str, session: ReadDep, principal: Reader) -> JobShape:
    job = service.get(session, principal.project_id, job_id)
    return job_shape(job, artifacts_of(session, job.id))


@router.post("/{job_id}/cancel")
def cancel_job(job_id: str, session: SessionDep, principal: Writer) -> JobShape:
    """A queued job ends at once, a running one within a heartbeat and the grace."""
    return job_shape(service.request_cancel(session, principal.project_id, job_id))


@router.post("/{job_id}/pause")
def pause_job(job_id: str, session: SessionDep, principal: Writer) -> JobShape:
    """A queued job is held at once; a running one saves its state, frees its device and is held."""
    return job_shape(service.request_pause(session, principal.project_id, job_id))


@router.post("/{job_id}/resume")
def resume_job(job_id: str, session: SessionDep, principal: Writer) -> JobShape:
    """A paused job is queued again and goes on where it was."""
    return job_shape(service.resume(session, principal.project_id, job_id))


@router.post("/{job_id}/retry", status_code=202)
def retry_job(job_id: str, once: OnceDep, session: SessionDep, principal: Writer) -> JobShape:
    """A new job that goes on where a failed or cancelled one ended, with what that one left."""
    once.begin(session)
    return once.answer(session, job_shape(service.retry(session, principal.project_id, job_id)))


@router.get("/{job_id}/checkpoints")
def list_checkpoints(
    job_id: str, session: ReadDep, principal: Reader, page: PageDep
) -> ListBody[CheckpointShape]:
    """Saved states of a training; one that was found damaged says so in `rejected`."""
    service.get(session, principal.project_id, job_id)
    query = select(Checkpoint).where(Checkpoint.job_id == job_id)
    return list_body(read_page(session, query, Checkpoint.id, page), checkpoint_shape)


@router.get("/{job_id}/events", response_model=ListBody[EventShape], responses=RESPONSES)
def list_events(
    job_id: str,
    request: Request,
    session: ReadDep,
    principal: Reader,
    page: PageDep,
    last_event_id: LastEventId = None,
) -> Any:
    """What happened, newest first."""
    job = service.get(session, principal.project_id, job_id)
    return page_or_stream(
        request, session, job, page, last_event_id, read=_read_events, shape=event_shape
    )


def _read_events(session: Session, job: Job, page: PageQuery) -> Page:
    query = select(JobEvent).where(JobEvent.job_id == job.id)
    return read_page(session, query, JobEvent.id, page, cursor=int)


@router.get("/{job_id}/metrics")
def list_metrics(
    job_id: str, session: ReadDep, principal: Reader, page: PageDep
) -> ListBody[MetricShape]:
    """Points of the curves by step: train and validation loss, learning rate, gradient norm …"""
    service.get(session, principal.project_id, job_id)
    query = select(Metric).where(Metric.job_id == job_id)
    return list_body(
        read_page(session, query, Metric.step, page, cursor=int),
        lambda row: MetricShape(
            step=row.step, values=row.values, attempt=row.token, created_at=row.created_at
        ),
        key="step",
    )


@router.get("/{job_id}/attempts")
def list_attempts(job_id: str, session: ReadDep, principal: Reader) -> ListBody[AttemptShape]:
    service.get(session, principal.project_id, job_id)
    rows = [attempt_shape(row) for row in records.attempts(session, job_id)]
    ids = [str(row.number) for row in rows]
    return ListBody(
        data=rows,
        has_more=False,
        first_id=ids[0] if ids else None,
        last_id=ids[-1] if ids else None,
    )


@router.get("/{job_id}/results")
def list_results(
    job_id: str, session: ReadDep, principal: Reader, page: PageDep
) -> ListBody[RowShape]:
    """Finished rows of an evaluate or generate job, while it runs too."""
    service.get(session, principal.project_id, job_id)
    query = select(ResultRow).where(ResultRow.job_id == job_id)
    return list_body(
        read_page(session, query, ResultRow.row, page, cursor=int, size=records.ROW_CHARACTERS),
        lambda row: RowShape(row=row.row, data=row.data),
        key="row",
    )


@router.get("/{job_id}/logs", response_class=PlainTextResponse)
def get_logs(
    job_id: str,
    session: ReadDep,
    principal: Reader,
    attempt: Annotated[int | None, Query(ge=1, lt=2**31)] = None,
) -> str:
    """What the job's runners printed: the newest 8 MiB; the first line says if there was more."""
    service.get(session, principal.project_id, job_id)
    return records.job_log(session, job_id, token=attempt)
