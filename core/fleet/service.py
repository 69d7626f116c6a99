"""Which workers live, on which queue, with how much memory, and whether the keeper does its work.
Knows no job."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.db import db_now, get_database, upsert
from core.fleet.models import KeeperRun, Worker
from core.settings import get_settings

KEEPER_QUEUE = "system"


@dataclass(frozen=True)
class Node:
    """What a worker says of itself when it comes up."""

    id: str
    queue: str
    device: str
    slots: int
    memory_bytes: int
    models: list[str]
    versions: dict[str, Any]


def register(session: Session, node: Node, *, fresh: bool = False) -> None:
    """Write or renew the worker's row: it lives, and this is what it can do. `fresh`: it has just
    come up, and the row may be that of an earlier process of its name."""
    row = asdict(node) | {"heartbeat_at": db_now(), "stopped_at": None}
    if fresh:
        row["started_at"] = db_now()
    upsert(session, Worker, [row])


def retire(session: Session, worker_id: str) -> None:
    """The worker is going; no job is rung for it any more."""
    session.execute(update(Worker).where(Worker.id == worker_id).values(stopped_at=db_now()))


def live_workers(session: Session) -> list[Worker]:
    oldest = db_now() - get_settings().lease_seconds
    return list(
        session.scalars(
            select(Worker)
            .where(Worker.stopped_at.is_(None), Worker.heartbeat_at > oldest)
            .order_by(Worker.id)
        )
    )


def live_slots(session: Session) -> dict[str, int]:
    """Slots by queue, of the workers that live."""
    oldest = db_now() - get_settings().lease_seconds
    rows = session.execute(
        select(Worker.queue, func.sum(Worker.slots))
        .where(Worker.stopped_at.is_(None), Worker.heartbeat_at > oldest)
        .group_by(Worker.queue)
        .order_by(Worker.queue)
    )
    return {name: int(slots) for name, slots in rows}


def largest_memory(session: Session, queue: str) -> int | None:
    """Bytes of the largest device on a queue, or None while no worker is up."""
    sizes = [worker.memory_bytes for worker in live_workers(session) if worker.queue == queue]
    return max(sizes, default=None)


@contextmanager
def keeper_run(name: str) -> Iterator[None]:
    """Note how long the keeper's task took and when it ended; one that breaks is not noted."""
    begun = time.monotonic()
    yield
    row = {"name": name, "seconds": time.monotonic() - begun, "finished_at": db_now()}
    with get_database().transaction() as session:
        upsert(session, KeeperRun, [row])


def keeper_lags(session: Session) -> dict[str, float]:
    """Seconds since the last finished run of each of the keeper's tasks."""
    rows = session.execute(select(KeeperRun.name, db_now() - KeeperRun.finished_at))
    return {name: max(0.0, lag) for name, lag in rows}
