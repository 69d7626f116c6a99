"""A job type that does nothing. It is known to the processes of this benchmark alone."""

from pathlib import Path

import workers.recipes
from core.jobs import types
from core.jobs.types.base import Brief, JobType, Params

NOOP = JobType(
    name="noop",
    queue="cpu",
    time_limit_seconds=600,
    params=Params,
    check=lambda session, project_id, params: None,
    brief=lambda session, job: Brief({}),
)


def install() -> None:
    """Let this process know the type and its recipe; call it before `workers.tasks` is imported."""
    types.TYPES = (*types.TYPES, NOOP)
    workers.recipes.__path__.append(str(Path(__file__).parent / "recipes"))
