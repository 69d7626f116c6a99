"""Table of workers and what each can do."""

from typing import Any

from sqlalchemy import BigInteger
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
