"""Evaluations as the jobs that they are: finding them, what one measured, two of them side by side.

An evaluation is a job of type `evaluate`; its id is the job's. Knows no job type's contract.
"""

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session, aliased

from core.datasets import service as datasets
from core.datasets.models import Dataset
from core.errors import InvalidInput, NotFound, WrongState
from core.evaluations.paired import Table
from core.jobs.models import Job, ResultRow
from core.jobs.status import JobStatus

METRICS = ("execution_accuracy", "accuracy", "exact_match", "valid_sql")


def all_of(project_id: str) -> Select[tuple[Job]]:
    """The evaluations of a project, to be narrowed and paged."""
    return select(Job).where(Job.project_id == project_id, Job.type == "evaluate")


def get(session: Session, project_id: str, evaluation_id: str) -> Job:
    job = session.scalar(all_of(project_id).where(Job.id == evaluation_id))
    if job is None:
        raise NotFound(
            f"There is no evaluation '{evaluation_id}' in this project.", param="evaluation"
        )
    return job


def dataset_of(session: Session, evaluation: Job) -> Dataset:
    return datasets.find(session, evaluation.project_id, evaluation.params["dataset"])


def measured(evaluation: Job, metric: str) -> float | None:
    """What a finished evaluation says of a metric, None if that can't be said of such data."""
    result = evaluation.result or {}
    if metric == "valid_sql":
        invalid = result.get("invalid_sql")
        return None if invalid is None else round(1 - invalid, 4)
    found = result.get(metric)
    return None if found is None else found["value"]


def newest_whole(
    session: Session, project_id: str, model: str, dataset: Dataset, split: str
) -> Job | None:
    """The newest finished evaluation of a model on every example of a split."""
    query = all_of(project_id).where(
        Job.status == JobStatus.SUCCEEDED,
        Job.params["model"].as_string() == model,
        Job.params["split"].as_string() == split,
        Job.params["dataset"].as_string().in_((dataset.id, dataset.name)),
    )
    found = session.scalars(query.order_by(Job.id.desc()))
    return next((one for one in found if _is_whole(one, dataset, split)), None)


def _is_whole(evaluation: Job, dataset: Dataset, split: str) -> bool:
    return (evaluation.result or {}).get("examples", 0) >= (dataset.splits or {}).get(split, 1)


# -- two of them -----------------------------------------------------------------------------------


def require_comparable(session: Session, first: Job, second: Job) -> None:
    """Raise unless both are finished and were asked the same questions."""
    for one in (first, second):
        if one.status != JobStatus.SUCCEEDED:
            raise WrongState(
                f"The evaluation '{one.id}' is '{one.status}'; only finished ones are compared.",
                code="evaluation_not_finished",
            )
    places = [(dataset_of(session, one), one.params["split"]) for one in (first, second)]
    if places[0] != places[1]:
        said = [f"'{split}' of '{dataset.name}'" for dataset, split in places]
        raise InvalidInput(
            f"'{first.id}' was asked the split {said[0]} and '{second.id}' the split {said[1]}; "
            "only answers to the same questions can be compared.",
            param="b",
            code="not_comparable",
        )


def contingency(session: Session, first: Job, second: Job) -> Table:
    """How often both, one or none of them was right, on the questions that both were asked."""
    a, b = aliased(ResultRow), aliased(ResultRow)
    right, also = _correct(a), _correct(b)
    rows = session.execute(
        select(right, also, func.count())
        .select_from(a)
        .join(b, a.row == b.row)
        .where(a.job_id == first.id, b.job_id == second.id)
        .group_by(right, also)
    )
    cells = {(bool(right), bool(also)): count for right, also, count in rows}
    return Table(
        both=cells.get((True, True), 0),
        first=cells.get((True, False), 0),
        second=cells.get((False, True), 0),
        neither=cells.get((False, False), 0),
    )


def differing(
    session: Session, first: Job, second: Job, *, second_right: bool, limit: int
) -> list[tuple[ResultRow, ResultRow]]:
    """Both answers to the questions that the second alone got right (or wrong), in order."""
    a, b = aliased(ResultRow), aliased(ResultRow)
    query = (
        select(a, b)
        .join(b, a.row == b.row)
        .where(
            a.job_id == first.id,
            b.job_id == second.id,
            _correct(a).is_(not second_right),
            _correct(b).is_(second_right),
        )
    )
    return [(one, other) for one, other in session.execute(query.order_by(a.row).limit(limit))]


def _correct(answers: type[ResultRow]) -> ColumnElement[bool]:
    return answers.data["correct"].as_boolean()
