"""`/v1/fine_tuning/jobs` as OpenAI has it. A fine-tuning job's id is the id of its train job."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from api.deps import PageDep, ReadDep, Reader, SessionDep, Writer
from api.idempotency import OnceDep
from api.schemas.common import ListBody, list_body
from api.schemas.fine_tuning import (
    TuningCheckpointShape,
    TuningEventShape,
    TuningShape,
    checkpoint_shape,
    event_shape,
    tuning_shape,
)
from api.schemas.fine_tuning_body import TuningBody
from api.streams import RESPONSES, LastEventId, page_or_stream
from core.finetuning import service
from core.finetuning.events import read_events
from core.finetuning.view import look_at
from core.jobs.labels import labelled, unlabelled
from core.jobs.models import Checkpoint, Job, Metric
from core.pages import PageQuery, read_page

router = APIRouter(prefix="/fine_tuning/jobs", tags=["fine-tuning"])

LABEL = re.compile(r"metadata\[(.*)\]", re.DOTALL)
METADATA = {
    "name": "metadata",
    "in": "query",
    "style": "deepObject",
    "explode": True,
    "description": "Jobs with these pairs in their metadata, as `metadata[team]=sales`.",
    "schema": {"type": "object", "additionalProperties": {"type": "string"}},
}


async def get_checkpoints_page(
    after: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 10
) -> PageQuery:
    return PageQuery(after=after, limit=limit)


@router.post("")
def create_tuning(
    body: TuningBody, once: OnceDep, session: SessionDep, principal: Writer
) -> TuningShape:
    """Validate the files, then tune `model` on them. Parameters beside OpenAI's are those of a
    training (`/v1/jobs`), and `database`, whose SQL the answers then are."""
    once.begin(session)
    job = service.create(session, principal.project_id, body.order())
    return once.answer(session, _shape(session, job))


@router.get("", openapi_extra={"parameters": [METADATA]})
def list_tunings(
    request: Request, session: ReadDep, principal: Reader, page: PageDep
) -> ListBody[TuningShape]:
    query = _filtered(request, session, service.all_of(principal.project_id))
    found = read_page(session, query, Job.id, page)
    shapes = {one.job.id: tuning_shape(one) for one in look_at(session, found.rows)}
    return list_body(found, lambda job: shapes[job.id])


def _filtered(request: Request, session: Session, query: Select[tuple[Job]]) -> Select[tuple[Job]]:
    """By `metadata[key]=value`; `metadata=null` are those without any."""
    if request.query_params.get("metadata") == "null":
        return query.where(unlabelled())
    given = ((LABEL.fullmatch(name), value) for name, value in request.query_params.multi_items())
    wanted = {found[1]: value for found, value in given if found}
    return query.where(labelled(session, wanted)) if wanted else query


@router.get("/{fine_tuning_job_id}")
def get_tuning(fine_tuning_job_id: str, session: ReadDep, principal: Reader) -> TuningShape:
    return _shape(session, service.get(session, principal.project_id, fine_tuning_job_id))


@router.post("/{fine_tuning_job_id}/cancel")
def cancel_tuning(fine_tuning_job_id: str, session: SessionDep, principal: Writer) -> TuningShape:
    """A job that does not run yet ends at once, a running one within a heartbeat and the grace."""
    return _shape(session, service.cancel(session, principal.project_id, fine_tuning_job_id))


@router.post("/{fine_tuning_job_id}/pause")
def pause_tuning(fine_tuning_job_id: str, session: SessionDep, principal: Writer) -> TuningShape:
    """A running job saves its state, frees its device and is `paused` then; one that does not run
    yet is at once. The validation of its files goes on."""
    return _shape(session, service.pause(session, principal.project_id, fine_tuning_job_id))


@router.post("/{fine_tuning_job_id}/resume")
def resume_tuning(fine_tuning_job_id: str, session: SessionDep, principal: Writer) -> TuningShape:
    """A paused job is queued again and goes on from where it was."""
    return _shape(session, service.resume(session, principal.project_id, fine_tuning_job_id))


@router.get(
    "/{fine_tuning_job_id}/events",
    response_model=ListBody[TuningEventShape],
    responses=RESPONSES,
)
def list_tuning_events(
    fine_tuning_job_id: str,
    request: Request,
    session: ReadDep,
    principal: Reader,
    page: PageDep,
    last_event_id: LastEventId = None,
) -> Any:
    """What happened, newest first: messages, and the metrics of each step."""
    job = service.get(session, principal.project_id, fine_tuning_job_id)
    return page_or_stream(
        request, session, job, page, last_event_id, read=read_events, shape=event_shape
    )


@router.get("/{fine_tuning_job_id}/checkpoints")
def list_tuning_checkpoints(
    fine_tuning_job_id: str,
    session: ReadDep,
    principal: Reader,
    page: Annotated[PageQuery, Depends(get_checkpoints_page)],
) -> ListBody[TuningCheckpointShape]:
    """Those that can be used as models; older ones are dropped as newer ones come (`keep`)."""
    job = service.get(session, principal.project_id, fine_tuning_job_id)
    [tuning] = look_at(session, [job])
    query = select(Checkpoint).where(Checkpoint.job_id == job.id, Checkpoint.rejected.is_(None))
    found = read_page(session, query, Checkpoint.id, page)
    points = _points(session, job, [row.step for row in found.rows])
    return list_body(found, lambda row: checkpoint_shape(row, tuning.name, points))


def _points(session: Session, job: Job, steps: list[int]) -> dict[int, dict[str, Any]]:
    points = select(Metric).where(Metric.job_id == job.id, Metric.step.in_(steps))
    return {point.step: point.values for point in session.scalars(points)}


def _shape(session: Session, job: Job) -> TuningShape:
    [tuning] = look_at(session, [job])
    return tuning_shape(tuning)
