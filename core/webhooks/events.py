"""What there is to hear of, and how an event looks. Knows no database and nobody who listens."""

from typing import Any, Literal, get_args

from core.ids import new_id
from core.jobs.models import Job
from core.jobs.status import JobStatus

EventType = Literal[
    "batch.completed",
    "batch.failed",
    "batch.expired",
    "batch.cancelled",
    "evaluation.succeeded",
    "evaluation.failed",
    "fine_tuning.job.succeeded",
    "fine_tuning.job.failed",
    "fine_tuning.job.cancelled",
]
EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)

# By type and end of a job. A batch has ended when its files are made, so core.batches says when.
OF_JOBS: dict[tuple[str, str], EventType] = {
    ("train", JobStatus.SUCCEEDED): "fine_tuning.job.succeeded",
    ("train", JobStatus.FAILED): "fine_tuning.job.failed",
    ("train", JobStatus.CANCELLED): "fine_tuning.job.cancelled",
    ("evaluate", JobStatus.SUCCEEDED): "evaluation.succeeded",
    ("evaluate", JobStatus.FAILED): "evaluation.failed",
}


def type_for(job: Job) -> EventType | None:
    """What the end of this job is called, or None if nobody can ask to hear of it."""
    return OF_JOBS.get((job.type, job.status))


def make_event(kind: EventType, object_id: str, moment: float) -> dict[str, Any]:
    """OpenAI's event: it says what happened to which thing; the thing itself is asked for."""
    return {
        "id": new_id("evt"),
        "object": "event",
        "created_at": int(moment),
        "type": kind,
        "data": {"id": object_id},
    }
