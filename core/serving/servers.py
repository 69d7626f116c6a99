"""Is there a server of a model, and may one be started: the jobs of type `serve`. Knows no Redis.

A server that has yielded its device is paused; it is resumed when somebody asks for it and there
is room again. One that its user has paused is left alone. One that its project's quota holds up is
of no use to another project, which gets its own.
"""

from collections.abc import Iterator
from contextlib import suppress

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from core.adapters.service import ModelTarget, resolve_model
from core.db import exclusive
from core.errors import TuneyardError, Unavailable, WrongState
from core.jobs import service
from core.jobs.dispatch import Bound, bounds, spare_slots
from core.jobs.models import Job
from core.jobs.status import LIVE, JobStatus
from core.jobs.types.serve import SERVE, ServeParams, address_of

STARTED_IDLE_SECONDS = 900
"""A server that was started because somebody asked ends after so long without a request."""


def ensure_server(session: Session, project_id: str, target: ModelTarget) -> None:
    """See to it that a server of this model comes up soon, or `Unavailable` says why none does."""
    address = address_of(target)
    exclusive(session, f"serve:{address}")  # two requests at once must not start two
    jobs = list(_servers_of(session, address))
    if any(job.status == JobStatus.RUNNING for job in jobs):
        return  # it loads its model, or was lost and its job is not given back yet
    yielding = _yielding(session)
    bound = bounds(session, SERVE.queue, going=[job.project_id for job in yielding])
    coming = any(job.status == JobStatus.QUEUED and not _held(job, bound) for job in jobs)
    # One that is queued is counted among those that want a slot.
    if spare_slots(session, SERVE.queue) + coming + len(yielding) < 1:
        raise _none(target, "no device is free for one; the jobs that have them go first")
    if coming:
        return
    for job in jobs:
        if job.status == JobStatus.PAUSED and not _full(job.project_id, bound):
            with suppress(WrongState):  # its user was quicker
                service.bring_back(session, job, only_if=Job.yielded)
                return
    if _full(project_id, bound):
        raise _none(target, "this project has as many jobs running or before it as it may run")
    name = target.base.name if target.merged is None else target.merged.name
    params = ServeParams(model=name, max_idle_seconds=STARTED_IDLE_SECONDS)
    service.submit(session, project_id, SERVE.name, params)


def _held(job: Job, bound: dict[str, Bound]) -> bool:
    return job.project_id in bound and bound[job.project_id].holds(job.id)


def _full(project_id: str, bound: dict[str, Bound]) -> bool:
    return project_id in bound and bound[project_id].full


def _none(target: ModelTarget, reason: str) -> Unavailable:
    return Unavailable(
        f"No server of '{target.name}' runs, and {reason}. Try again later.", code="no_server"
    )


def _servers_of(session: Session, address: str) -> Iterator[Job]:
    """Jobs that serve the model or will: running, queued, or paused because they have yielded."""
    wanted = or_(Job.status != JobStatus.PAUSED, Job.yielded)
    jobs = session.scalars(
        select(Job).where(Job.type == SERVE.name, Job.status.in_(LIVE), wanted).order_by(Job.id)
    )
    for job in jobs:
        try:
            served = resolve_model(session, job.project_id, job.params["model"])
        except TuneyardError:
            continue  # its model was deleted
        if address_of(served) == address:
            yield job


def _yielding(session: Session) -> list[Job]:
    """Servers that will make room when another job waits."""
    running = session.scalars(
        select(Job).where(Job.type == SERVE.name, Job.status == JobStatus.RUNNING)
    )
    return [job for job in running if job.params["yield_policy"] != "never"]
