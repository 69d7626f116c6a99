"""The events of a fine-tuning job: what its two jobs said, and each point of its curves.

A point is an event of the type `metrics`. What a validation found comes later than the rest of its
step, with the checkpoint that follows it: so an event that was read once stays as it is.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Select, Subquery, literal, select, tuple_, union_all
from sqlalchemy.orm import Session

from core.errors import InvalidInput
from core.jobs.models import Job, JobEvent, Metric
from core.pages import Page, PageQuery

MESSAGE, POINT = 0, 1
KINDS = {"e": MESSAGE, "m": POINT}
# No more digits than a column of each takes.
ID = re.compile(r"ftevent-(?P<kind>[em])(?P<number>[0-9]{1,9}|(?<=e)[0-9]{10,18})")
LEVELS = {"warning": "warn"}
NAMES = {
    "loss": "train_loss",
    "token_accuracy": "train_mean_token_accuracy",
    "validation_loss": "valid_loss",
    "validation_token_accuracy": "valid_mean_token_accuracy",
}
"""OpenAI's words for ours."""
LATER = ("validation_loss", "validation_token_accuracy")


@dataclass(frozen=True)
class TuningEvent:
    id: str
    created_at: float
    level: str
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any]


def read_events(session: Session, job: Job, page: PageQuery) -> Page:
    """A page of `TuningEvent`s by their moment; of one moment messages come first."""
    both = _both(job)
    place = tuple_(both.c.at, both.c.kind, both.c.number)
    query = select(both.c.kind, both.c.number)
    if page.after is not None:
        after = tuple_(*(literal(part) for part in _place_of(session, job, page.after)))
        query = query.where(place < after if page.order == "desc" else place > after)
    ways = [part.desc() if page.order == "desc" else part.asc() for part in place.clauses]
    found = session.execute(query.order_by(*ways).limit(page.limit + 1)).all()
    rows = _events(session, job, [(kind, number) for kind, number in found[: page.limit]])
    return Page(rows, len(found) > page.limit)


def _both(job: Job) -> Subquery:
    """Moment, kind and number of each event of the job."""
    return union_all(
        select(
            JobEvent.created_at.label("at"),
            literal(MESSAGE).label("kind"),
            JobEvent.id.label("number"),
        ).where(JobEvent.job_id.in_(_jobs(job))),
        select(Metric.created_at, literal(POINT), Metric.step).where(Metric.job_id == job.id),
    ).subquery()


def _jobs(job: Job) -> list[str]:
    return [job.id, job.depends_on] if job.depends_on else [job.id]


def _place_of(session: Session, job: Job, event_id: str) -> tuple[float, int, int]:
    """Where an event of this job stands in their order."""
    found = ID.fullmatch(event_id)
    if found is not None:
        kind, number = KINDS[found["kind"]], int(found["number"])
        at = session.scalar(_moment(job, kind, number))
        if at is not None:
            return at, kind, number
    raise InvalidInput(f"after={event_id!r} is no event of this job.", param="after")


def _moment(job: Job, kind: int, number: int) -> Select[tuple[float]]:
    if kind == POINT:
        return select(Metric.created_at).where(Metric.job_id == job.id, Metric.step == number)
    return select(JobEvent.created_at).where(JobEvent.id == number, JobEvent.job_id.in_(_jobs(job)))


def _events(session: Session, job: Job, found: Sequence[tuple[int, int]]) -> list[TuningEvent]:
    """Those of a page, in its order."""
    ids = [number for kind, number in found if kind == MESSAGE]
    said = {
        event.id: event for event in session.scalars(select(JobEvent).where(JobEvent.id.in_(ids)))
    }
    steps = {number for kind, number in found if kind == POINT}
    steps |= {event.data["step"] for event in said.values() if _is_checkpoint(event)}
    points = {
        point.step: point
        for point in session.scalars(
            select(Metric).where(Metric.job_id == job.id, Metric.step.in_(steps))
        )
    }
    total = (job.progress or {}).get("total")
    return [
        _message(said[number], points) if kind == MESSAGE else _point(points[number], total)
        for kind, number in found
    ]


def _is_checkpoint(event: JobEvent) -> bool:
    return event.data.keys() == {"step"}


def _message(event: JobEvent, points: dict[int, Metric]) -> TuningEvent:
    values = points[event.data["step"]].values if event.data.get("step") in points else {}
    validated = values.get("validation_loss") if _is_checkpoint(event) else None
    message, data = event.message, event.data
    if validated is not None:
        message = f"{message} validation loss={validated:.4g}"
        data = data | {theirs: values[ours] for ours, theirs in NAMES.items() if ours in values}
    return TuningEvent(
        id=f"ftevent-e{event.id}",
        created_at=event.created_at,
        level=LEVELS.get(event.level, event.level),
        message=message,
        type="message" if validated is None else "metrics",
        data=data,
    )


def _point(point: Metric, total: int | None) -> TuningEvent:
    values = {
        NAMES.get(name, name): value for name, value in point.values.items() if name not in LATER
    }
    of_all = f"/{total}" if total else ""
    loss = values.get("train_loss")
    shown = "" if loss is None else f": training loss={loss:.4g}"
    return TuningEvent(
        id=f"ftevent-m{point.step}",
        created_at=point.created_at,
        level="info",
        message=f"Step {point.step}{of_all}{shown}",
        type="metrics",
        data={"step": point.step, "total_steps": total, **values},
    )
