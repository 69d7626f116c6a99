"""What `/v1/evaluations` shows: an evaluation is the job, seen by what it measured."""

from typing import Any, Literal

from pydantic import Field

from api.schemas.common import Shape
from api.schemas.resources import whole
from core.evaluations.service import measured
from core.jobs.models import Job, ResultRow


class ShareShape(Shape):
    """A share of right answers with its 95 % interval (Wilson)."""

    value: float
    low: float
    high: float
    correct: int
    total: int


class SummaryShape(Shape):
    """`execution_accuracy` and the shares of SQL are null where nothing was executed."""

    examples: int
    accuracy: ShareShape
    execution_accuracy: ShareShape | None
    exact_match: ShareShape
    valid_sql: float | None = Field(description="Share of answers that parse and execute.")
    by_hardness: dict[str, ShareShape]
    by_language: dict[str, ShareShape]
    errors: dict[str, int] = Field(description="Wrong answers by the class of what is wrong.")
    error_samples: list[dict[str, Any]]
    latency_seconds: dict[str, float]
    requests_per_second: float | None


class EvaluationShape(Shape):
    id: str = Field(description="The id of the job that it is.")
    object: Literal["evaluation"] = "evaluation"
    status: str
    model: str
    dataset: str
    split: str
    params: dict[str, Any]
    progress: dict[str, Any] | None
    summary: SummaryShape | None
    error: dict[str, Any] | None
    created_at: int
    started_at: int | None
    finished_at: int | None


class AnswerShape(Shape):
    row: int
    object: Literal["evaluation.row"] = "evaluation.row"
    data: dict[str, Any]


class DifferingShape(Shape):
    """A question that one of the two got right, with what either answered."""

    row: int
    question: str
    gold: str
    a: dict[str, Any]
    b: dict[str, Any]


class ComparisonShape(Shape):
    """`b` against `a`: a question is won that `b` alone got right. `low` and `high` are the 95 %
    interval of the difference of their shares of right answers (Newcombe 1998, method 10),
    `p_value` is McNemar's exact test."""

    object: Literal["evaluation.comparison"] = "evaluation.comparison"
    a: str
    b: str
    dataset: str
    split: str
    questions: int
    won: int
    lost: int
    tied: int
    both_right: int
    both_wrong: int
    difference: float
    low: float
    high: float
    p_value: float
    won_questions: list[DifferingShape]
    lost_questions: list[DifferingShape]


SHOWN = ("prediction", "correct", "error_class", "message")


def evaluation_shape(row: Job) -> EvaluationShape:
    return EvaluationShape(
        id=row.id,
        status=row.status,
        model=row.params["model"],
        dataset=row.params["dataset"],
        split=row.params["split"],
        params=row.params,
        progress=row.progress,
        summary=_summary_shape(row) if row.result else None,
        error=row.error,
        created_at=int(row.created_at),
        started_at=whole(row.started_at),
        finished_at=whole(row.finished_at),
    )


def _summary_shape(row: Job) -> SummaryShape:
    known = {name: row.result.get(name) for name in SummaryShape.model_fields}
    return SummaryShape.model_validate(known | {"valid_sql": measured(row, "valid_sql")})


def answer_shape(row: ResultRow) -> AnswerShape:
    return AnswerShape(row=row.row, data=row.data)


def differing_shape(pair: tuple[ResultRow, ResultRow]) -> DifferingShape:
    a, b = pair
    return DifferingShape(
        row=a.row,
        question=a.data["question"],
        gold=a.data["gold"],
        a={name: a.data.get(name) for name in SHOWN},
        b={name: b.data.get(name) for name in SHOWN},
    )
