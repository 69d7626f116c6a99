"""Tables of workers and what each can do, of what trainings have shown of their memory, and of when
the keeper did what last."""

from typing import Any

from sqlalchemy import BigInteger, Integer
from sqlalchemy.orm import Mapped, mapped_column

from core.db import Base, db_now


class Worker(Base):
    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(primary_key=True)
    """Celery's node name: gpu0@host."""
    queue: Mapped[str] = mapped_column(index=True)
    device: Mapped[str]
    slots: Mapped[int]
    memory_bytes: Mapped[int] = mapped_column(BigInteger)
    """Memory of its device: what a job there can have."""
    models: Mapped[list[Any]]
    """Names of the base models in its store."""
    versions: Mapped[dict[str, Any]]
    started_at: Mapped[float] = mapped_column(default=db_now())
    heartbeat_at: Mapped[float] = mapped_column(default=db_now())
    stopped_at: Mapped[float | None]


class KeeperRun(Base):
    """The last finished run of one of the keeper's tasks."""

    __tablename__ = "keeper_runs"

    name: Mapped[str] = mapped_column(primary_key=True)
    """sweep or retain."""
    seconds: Mapped[float]
    finished_at: Mapped[float] = mapped_column(default=db_now())


class MemoryLesson(Base):
    """The largest groups of a training, and whether they fitted the device that it ran on."""

    __tablename__ = "memory_lessons"

    # SQLite numbers rows by itself only under the very type INTEGER.
    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True
    )
    base_model: Mapped[str] = mapped_column(index=True)
    quantization: Mapped[str]
    device: Mapped[str]
    memory_bytes: Mapped[int] = mapped_column(BigInteger)
    """With `device`, what the worker says of itself: workers that agree in both are of one kind."""
    tokens: Mapped[int]
    labels: Mapped[int]
    need_bytes: Mapped[int] = mapped_column(BigInteger)
    """What the estimate said that such a group takes."""
    fitted: Mapped[bool]
    peak_bytes: Mapped[int] = mapped_column(BigInteger)
    """What the training took at most above what it began with, as far as it is known."""
    created_at: Mapped[float] = mapped_column(default=db_now())
