"""What jobs that have not ended still need: files, models. Asked before something is deleted."""

from sqlalchemy import ColumnElement, Text, cast, func, select, text
from sqlalchemy.orm import Session

from core.adapters.names import read_checkpoint_name
from core.jobs.models import UNFINISHED_BATCH, Job
from core.jobs.status import FINAL, LIVE

NAMING: dict[str, tuple[str, ...]] = {
    "model": ("train", "evaluate", "generate", "serve"),
    "adapter": ("merge",),
    "continue_from": ("train",),
}
"""Parameters that name a model, and the types in which they do."""


def job_with_file(session: Session, project_id: str, file_id: str) -> Job | None:
    """A job that has the file among its parameters, whatever that one's name, and has not ended; or
    a batch that has, but not its files yet: they name the lines of its input."""
    named = cast(Job.params, Text).contains(f'"{file_id}"', autoescape=True)
    waits = text(UNFINISHED_BATCH[session.get_bind().dialect.name])
    live = select(Job).where(_live(project_id), named)
    ended = select(Job).where(waits, Job.project_id == project_id, Job.status.in_(FINAL), named)
    return session.scalar(live.limit(1)) or session.scalar(ended.limit(1))


def named_models(session: Session, project_id: str) -> dict[str, str]:
    """Every name by which a job that has not ended asks for a model, with the id of one such."""
    found: dict[str, str] = {}
    for parameter, types in NAMING.items():
        name = Job.params[parameter].as_string()
        asked = (
            select(name, func.min(Job.id))
            .where(_live(project_id), Job.type.in_(types), name.is_not(None))
            .group_by(name)
        )
        found |= {model: job_id for model, job_id in session.execute(asked)}
    return found


def asked_checkpoints(session: Session) -> set[tuple[str, int]]:
    """Checkpoints, by job and step, that a job which has not ended asks for as its model."""
    name = Job.params["model"].as_string()
    asked = select(name).distinct().where(Job.status.in_(LIVE), name.like("ft:%:ckpt-step-%"))
    found = (read_checkpoint_name(one) for one in session.scalars(asked))
    return {one for one in found if one is not None}


def _live(project_id: str) -> ColumnElement[bool]:
    return (Job.project_id == project_id) & Job.status.in_(LIVE)
