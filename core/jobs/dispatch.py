"""Which queued jobs are rung for next: as many as live workers have free slots, in fair order.

So the order is the database's and the broker never holds a backlog. Knows no job type.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from core import queue
from core.accounts.quotas import running_bounds
from core.db import db_now, exclusive, get_database
from core.failpoints import failpoint
from core.fleet.service import live_slots
from core.jobs.models import Job
from core.jobs.status import JobStatus
from core.settings import get_settings

log = logging.getLogger(__name__)

# Made once: an alias of so wide a table takes longer than the query that it is for.
_BEFORE, _AWAITED = aliased(Job), aliased(Job)
_OWN_ORDER = (Job.priority.desc(), Job.id)
"""In which a project's jobs follow each other."""


@dataclass
class Bound:
    """What a project's bound of running jobs does to a queue: so many more may run (`left`), and
    these wait, in their order."""

    left: int
    waiting: list[str] = field(default_factory=list)

    @property
    def full(self) -> bool:
        """One more that is queued would wait for others of the project."""
        return len(self.waiting) >= self.left

    def holds(self, job_id: str) -> bool:
        """It waits for others of its project, whatever is free."""
        return job_id in self.waiting[max(0, self.left) :]


@dataclass(frozen=True)
class Ring:
    """One message to send."""

    job_id: str
    number: int
    queue: str
    job_type: str


def dispatch() -> int:
    """Ring for what can run now. Safe from any process at any time; returns how many were rung."""
    with get_database().transaction() as session:
        exclusive(session, "dispatch")  # two at once would both see the same free slot
        rings = [ring for name in _waited_for(session) for ring in _choose(session, name)]
    for place, ring in enumerate(rings):
        failpoint("job.publish")
        if not queue.ring(
            ring.job_id, number=ring.number, queue=ring.queue, job_type=ring.job_type
        ):
            _take_back(rings[place:])  # the broker is away: the others would only wait for it
            return place
        failpoint("job.rung")
    return len(rings)


def spare_slots(session: Session, name: str) -> int:
    """Slots of a queue that are left when every job that may run has one; below zero, so many jobs
    wait in vain."""
    free = live_slots(session).get(name, 0) - _occupied(session, name)
    order = _fair_order(name, _left_to_run(session))
    return free - (session.scalar(select(func.count()).select_from(order.subquery())) or 0)


def waits_for(session: Session, name: str, project_id: str) -> bool:
    """Would a queued job run if one of the project on this queue made room? It has no slot, or is
    of the same project, which has as many running as it may."""
    if spare_slots(session, name) < 0:
        return True
    if _left_to_run(session).get(project_id, 1) > 0:
        return False
    # On whatever queue: a bound counts all of them.
    own = _ready(Job.id).where(Job.project_id == project_id, Job.queue.in_(live_slots(session)))
    return session.scalar(own.limit(1)) is not None


def bounds(session: Session, name: str, *, going: Iterable[str] = ()) -> dict[str, Bound]:
    """By project whose running jobs are bounded: what that does to a queue, once a job of each
    project in `going` has made room."""
    found = {project: Bound(left) for project, left in _left_to_run(session).items()}
    for project_id in going:
        if project_id in found:
            found[project_id].left += 1
    if found:
        own = (Job.queue == name) & Job.project_id.in_(found)
        waiting = _ready(Job.project_id, Job.id).where(own)
        for project_id, job_id in session.execute(waiting.order_by(*_OWN_ORDER)):
            found[project_id].waiting.append(job_id)
    return found


def _waited_for(session: Session) -> list[str]:
    """Queues with live workers and queued jobs. Every worker asks at every heartbeat, and nearly
    always nothing waits: the fair order is not even written down then."""
    waiting = select(Job.queue).where(Job.status == JobStatus.QUEUED).distinct()
    queues = set(session.scalars(waiting))
    return [name for name in live_slots(session) if name in queues] if queues else []


def _take_back(rings: list[Ring]) -> None:
    """Nobody was rung: the next sweep tries again at once, not after the time for an answer."""
    with get_database().transaction() as session:
        for ring in rings:
            unanswered = (Job.id == ring.job_id) & (Job.ring == ring.number)
            session.execute(
                update(Job).where(unanswered, Job.status == JobStatus.QUEUED).values(rung_at=None)
            )


def _choose(session: Session, name: str) -> list[Ring]:
    free = live_slots(session)[name] - _occupied(session, name)
    if free <= 0:
        return []
    order = _fair_order(name, _left_to_run(session))
    chosen = session.scalars(order.limit(free)).all()
    rung = session.scalars(
        update(Job)
        .where(Job.id.in_(chosen), Job.status == JobStatus.QUEUED)
        .values(ring=Job.ring + 1, rung_at=db_now())
        .returning(Job),
        execution_options={"populate_existing": True},
    ).all()
    rung = sorted(rung, key=lambda job: chosen.index(job.id))
    return [Ring(job.id, job.ring, job.queue, job.type) for job in rung]


def _occupied(session: Session, name: str) -> int:
    """Slots in use: running jobs, and those rung for so lately that a claim may be on its way."""
    rung = (Job.status == JobStatus.QUEUED) & _rung_lately()
    busy = select(func.count()).where(Job.queue == name, or_(Job.status == JobStatus.RUNNING, rung))
    return session.scalar(busy) or 0


def places(session: Session, name: str) -> dict[str, int]:
    """Place in the line, from 1, of every job that may run; those that were rung for come first.
    What waits for others of its project, by its quota, has none."""
    rung = select(Job.id).where(Job.queue == name, Job.status == JobStatus.QUEUED, _rung_lately())
    line = [
        *session.scalars(rung.order_by(Job.rung_at, Job.id)),
        *session.scalars(_fair_order(name, _left_to_run(session))),
    ]
    return {job_id: place for place, job_id in enumerate(line, start=1)}


def _left_to_run(session: Session) -> dict[str, int]:
    """By project whose running jobs are bounded: how many more may be rung for now."""
    bounds = running_bounds(session)
    if not bounds:
        return {}
    busy = (Job.status == JobStatus.RUNNING) | (Job.status == JobStatus.QUEUED) & _rung_lately()
    counted = session.execute(
        select(Job.project_id, func.count())
        .where(Job.project_id.in_(bounds), busy)
        .group_by(Job.project_id)
    )
    taken = {project_id: jobs for project_id, jobs in counted}
    return {project_id: most - taken.get(project_id, 0) for project_id, most in bounds.items()}


def _rung_lately() -> ColumnElement[bool]:
    return func.coalesce(Job.rung_at, 0) > db_now() - get_settings().ring_again_seconds


def _ready(*columns: Any) -> Select[Any]:
    """Jobs of all queues that may run and were not rung for, whatever their projects' bounds."""
    return (
        select(*columns)
        .outerjoin(_AWAITED, _AWAITED.id == Job.depends_on)
        .where(
            Job.status == JobStatus.QUEUED,
            ~_rung_lately(),
            func.coalesce(Job.run_after, 0) <= db_now(),
            or_(Job.depends_on.is_(None), _AWAITED.status == JobStatus.SUCCEEDED),
        )
    )


def _fair_order(name: str, left: dict[str, int]):
    """Ids of jobs that may run, projects in turn: the k-th of one before the k+1-th of another.

    What a project has running counts, so a project with a thousand jobs does not hold up one with
    ten. Within a project: priority, then age. Of a project in `left` only that many.
    """
    running = (
        select(_BEFORE.project_id, func.count().label("jobs"))
        .where(_BEFORE.queue == name, _BEFORE.status == JobStatus.RUNNING)
        .group_by(_BEFORE.project_id)
        .subquery()
    )
    place = func.row_number().over(partition_by=Job.project_id, order_by=_OWN_ORDER)
    turn = place + func.coalesce(running.c.jobs, 0)
    columns = (Job.id, Job.priority, Job.project_id, place.label("place"), turn.label("turn"))
    ready = (
        _ready(*columns)
        .where(Job.queue == name)
        .outerjoin(running, running.c.project_id == Job.project_id)
        .subquery()
    )
    order = select(ready.c.id).order_by(ready.c.turn, ready.c.priority.desc(), ready.c.id)
    if left:
        most = case(left, value=ready.c.project_id)  # NULL for a project without a bound
        order = order.where(ready.c.place <= func.coalesce(most, ready.c.place))
    return order
