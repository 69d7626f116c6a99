"""`/v1/evaluations`: jobs of type `evaluate` by what they measured, and two of them compared."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import select

from api.deps import PageDep, ReadDep, Reader, SessionDep, Writer
from api.idempotency import OnceDep
from api.schemas.common import ListBody, list_body
from api.schemas.evaluations import (
    AnswerShape,
    ComparisonShape,
    EvaluationShape,
    answer_shape,
    differing_shape,
    evaluation_shape,
)
from core.evaluations import service
from core.evaluations.paired import compare
from core.jobs import records
from core.jobs import service as jobs
from core.jobs.models import Job, ResultRow
from core.jobs.status import JobStatus
from core.jobs.types.evaluate import EvaluateParams
from core.pages import read_page

router = APIRouter(prefix="/evaluations", tags=["evaluations"])


@router.post("", status_code=202)
def create_evaluation(
    body: EvaluateParams, once: OnceDep, session: SessionDep, principal: Writer
) -> EvaluationShape:
    """Queue an evaluation. It is a job: cancel, pause, events and logs are `/v1/jobs/{id}`'s."""
    once.begin(session)
    job = jobs.submit(session, principal.project_id, "evaluate", body)
    return once.answer(session, evaluation_shape(job))


@router.get("")
def list_evaluations(
    session: ReadDep,
    principal: Reader,
    page: PageDep,
    model: str | None = None,
    status: JobStatus | None = None,
) -> ListBody[EvaluationShape]:
    query = service.all_of(principal.project_id)
    if model is not None:
        query = query.where(Job.params["model"].as_string() == model)
    if status is not None:
        query = query.where(Job.status == status)
    return list_body(read_page(session, query, Job.id, page), evaluation_shape)


@router.get("/compare")
def compare_evaluations(
    a: str,
    b: str,
    session: ReadDep,
    principal: Reader,
    limit: Annotated[int, Query(ge=0, le=1000, description="questions of each list")] = 20,
) -> ComparisonShape:
    """`b` against `a`, question by question. Both must be finished, on the same split."""
    first = service.get(session, principal.project_id, a)
    second = service.get(session, principal.project_id, b)
    service.require_comparable(session, first, second)
    lists = {
        name: service.differing(session, first, second, second_right=won, limit=limit)
        for name, won in (("won_questions", True), ("lost_questions", False))
    }
    return ComparisonShape(
        a=first.id,
        b=second.id,
        dataset=service.dataset_of(session, first).name,
        split=first.params["split"],
        **compare(service.contingency(session, first, second)),
        **{name: [differing_shape(pair) for pair in pairs] for name, pairs in lists.items()},
    )


@router.get("/{evaluation_id}")
def get_evaluation(evaluation_id: str, session: ReadDep, principal: Reader) -> EvaluationShape:
    return evaluation_shape(service.get(session, principal.project_id, evaluation_id))


@router.get("/{evaluation_id}/rows")
def list_rows(
    evaluation_id: str,
    session: ReadDep,
    principal: Reader,
    page: PageDep,
    correct: bool | None = None,
) -> ListBody[AnswerShape]:
    """Every question with its answer, while it runs too; `correct=false`: the wrong ones."""
    evaluation = service.get(session, principal.project_id, evaluation_id)
    query = select(ResultRow).where(ResultRow.job_id == evaluation.id)
    if correct is not None:
        query = query.where(ResultRow.data["correct"].as_boolean().is_(correct))
    found = read_page(session, query, ResultRow.row, page, cursor=int, size=records.ROW_CHARACTERS)
    return list_body(found, answer_shape, key="row")
