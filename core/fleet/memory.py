"""What trainings have shown of the memory of a kind of device: how much fitted, how much did not.

Knows no job. What is compared is the estimate of a group's need (`need_bytes`), which is wrong by
about the same share for all groups of one base model.
"""

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from core.db import db_now
from core.fleet.models import MemoryLesson, Worker

KEPT_SECONDS = 30 * 24 * 3600  # memory that others took for a while shall not count for ever


def learn(
    session: Session, worker_id: str, *, base_model: str, quantization: str, **lesson: int | bool
) -> None:
    """Keep what a training on this worker has shown: tokens, labels, need_bytes, fitted and
    peak_bytes. Old lessons go."""
    worker = session.get(Worker, worker_id)
    if worker is None:
        return
    session.execute(delete(MemoryLesson).where(MemoryLesson.created_at < db_now() - KEPT_SECONDS))
    session.add(
        MemoryLesson(
            base_model=base_model,
            quantization=quantization,
            device=worker.device,
            memory_bytes=worker.memory_bytes,
            **lesson,
        )
    )


def ceiling(
    session: Session, worker_id: str | None, *, base_model: str, quantization: str
) -> int | None:
    """The smallest need that did not fit a device such as this worker's, or None. One that did not
    fit is forgotten when as much has fitted since."""
    worker = session.get(Worker, worker_id) if worker_id else None
    if worker is None:
        return None
    lessons = session.execute(
        select(MemoryLesson.need_bytes, MemoryLesson.fitted)
        .where(
            MemoryLesson.base_model == base_model,
            MemoryLesson.quantization == quantization,
            MemoryLesson.device == worker.device,
            MemoryLesson.memory_bytes == worker.memory_bytes,
            MemoryLesson.created_at >= db_now() - KEPT_SECONDS,
        )
        .order_by(MemoryLesson.id)
    )
    failed: set[int] = set()
    for need, fitted in lessons:
        failed = {one for one in failed if one > need} if fitted else failed | {need}
    return min(failed, default=None)
