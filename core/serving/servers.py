"""Is there a server of a model, and may one be started: the jobs of type `serve`. Knows no Redis.

A server that has yielded its device is paused; it is resumed when somebody asks for it and there
is room again. One that its user has paused is left alone.
"""

from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.adapters.service import ModelTarget, resolve_model
from core.db import exclusive
from core.errors import TuneyardError, Unavailable
from core.jobs import service
from core.jobs.dispatch import spare_slots
from core.jobs.ends import YIELDED
from core.jobs.models import Attempt, Job
from core.jobs.status import JobStatus
from core.jobs.types.serve import SERVE, ServeParams, address_of

STARTED_IDLE_SECONDS = 900
"""A server that was started because somebody asked ends after so long without a request."""


def ensure_server(session: Session, project_id: str, target: ModelTarget) -> None:
    """See to it that a server of this model comes up soon, or `Unavailable` says why none does."""
    address = address_of(target)
    exclusive(session, f"serve:{address}")  # two requests at once must not start two
    jobs = {job.status: job for job in _servers_of(session, address)}
    if JobStatus.RUNNING in jobs:
        return  # it loads its model, or was lost and its job is not given back yet
    coming = JobStatus.QUEUED in jobs
    # One that is queued is counted among those that want a slot.
    if spare_slots(session, SERVE.queue) + coming + _yielding(session) < 1:
        raise Unavailable(
            f"No server of '{target.name}' runs, and no device is free for one; the jobs that have "
            "them go first. Try again later.",
            code="no_server",
        )
    if coming:
        return
    if (yielded := jobs.get(JobStatus.PAUSED)) is not None:
        service.resume(session, yielded.project_id, yielded.id)
        return
    name = target.base.name if target.merged is None else target.merged.name
    params = ServeParams(model=name, max_idle_seconds=STARTED_IDLE_SECONDS)
    service.submit(session, project_id, SERVE.name, params)


def _servers_of(session: Session, address: str) -> Iterator[Job]:
    """Jobs that serve the model or will: running, queued, or paused because they have yielded."""
    last = (Attempt.job_id == Job.id) & (Attempt.token == Job.token)
    jobs = session.execute(
        select(Job, Attempt.outcome)
        .outerjoin(Attempt, last)
        .where(
            Job.type == SERVE.name,
            Job.status.in_((JobStatus.RUNNING, JobStatus.QUEUED, JobStatus.PAUSED)),
        )
    )
    for job, outcome in jobs:
        if job.status == JobStatus.PAUSED and outcome != YIELDED:
            continue
        try:
            served = resolve_model(session, job.project_id, job.params["model"])
        except TuneyardError:
            continue  # its model was deleted
        if address_of(served) == address:
            yield job


def _yielding(session: Session) -> int:
    """Servers that will make room when another job waits."""
    running = session.scalars(
        select(Job).where(Job.type == SERVE.name, Job.status == JobStatus.RUNNING)
    )
    return sum(job.params["yield_policy"] != "never" for job in running)
