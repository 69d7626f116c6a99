"""Finished evaluations put straight into the database, with the summary of their own rows."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from core.evaluations.summary import summarise
from core.jobs.models import Job, ResultRow
from tests.core.jobs.jobs import add_job


def answer(row: int, correct: bool) -> dict:
    return {
        "question": f"问题 {row}?",
        "language": "zh",
        "gold": f"SELECT {row}",
        "prediction": f"SELECT {row if correct else -row}",
        "correct": correct,
        "exact_match": correct,
        "is_query": True,
        "executes": True,
        "hardness": "easy",
        "error_class": None if correct else "wrong_rows",
        "message": "",
        "latency_seconds": 0.1,
    }


def add_evaluation(
    session: Session,
    project_id: str,
    model: str,
    right: Sequence[bool],
    *,
    dataset: str = "d",
    split: str = "test",
    status: str = "succeeded",
) -> Job:
    """One whose k-th question was answered rightly if `right[k]`."""
    answers = [answer(row, correct) for row, correct in enumerate(right)]
    job = add_job(
        session,
        project_id,
        type="evaluate",
        status=status,
        params={"model": model, "dataset": dataset, "split": split},
        result=summarise(answers) if status == "succeeded" else None,
    )
    session.add_all(ResultRow(job_id=job.id, row=row, data=one) for row, one in enumerate(answers))
    session.flush()
    return job
