"""Tables of jobs and of what they leave behind while they run."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, Text, false, text
from sqlalchemy.orm import Mapped, mapped_column

from core.db import Base, db_now

UNFINISHED_BATCH = {
    "sqlite": "surface = 'batch' AND json_extract(request, '$.finalized_at') IS NULL",
    "postgresql": "surface = 'batch' AND (request ->> 'finalized_at') IS NULL",
}
"""A batch without its files, as each database finds one by an index: in these very words."""


class Job(Base):
    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_status_queue", "status", "queue"),
        Index("ix_jobs_project_status", "project_id", "status"),
        Index(
            "ix_jobs_unfinished_batches",
            "surface",
            "status",
            sqlite_where=text(UNFINISHED_BATCH["sqlite"]),
            postgresql_where=text(UNFINISHED_BATCH["postgresql"]),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    type: Mapped[str]
    queue: Mapped[str]
    status: Mapped[str]
    """Written by `transitions.transition` alone."""
    params: Mapped[dict[str, Any]]
    priority: Mapped[int] = mapped_column(default=0)
    depends_on: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"), index=True)
    run_after: Mapped[float | None]
    """Not before this moment: a failed attempt is tried again after a while."""
    time_limit_seconds: Mapped[float]
    """How long it may run in all its attempts; what it waits or is paused does not count."""
    labels: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    """The customer's own words on it, which OpenAI calls `metadata`; lists filter by them."""
    request: Mapped[dict[str, Any] | None]
    """What another surface was asked for, as it has to say again; `surface` names that surface."""
    surface: Mapped[str | None] = mapped_column(index=True)
    """`fine_tuning` or `batch`: the facade that made it; None is /v1/jobs."""
    expires_at: Mapped[float | None]
    """The keeper stops it after this moment; what it has done by then is kept."""
    retry_of: Mapped[str | None]
    """The job whose rows and checkpoints it took over. No key: that one may be gone by now."""

    token: Mapped[int] = mapped_column(default=0)
    """Counts the claims: the one who holds the latest may write, nobody else."""
    worker_id: Mapped[str | None]
    lease_expires_at: Mapped[float | None] = mapped_column(index=True)
    barren_attempts: Mapped[int] = mapped_column(default=0)
    """Attempts in a row that died without a new checkpoint or row."""
    retries: Mapped[int] = mapped_column(default=0)
    """Attempts in a row that failed and were tried again, without a new checkpoint or row."""

    ring: Mapped[int] = mapped_column(default=0)
    rung_at: Mapped[float | None]
    """When the broker was last told; a job that is not claimed soon after is rung again."""
    cancel_requested_at: Mapped[float | None]
    pause_requested_at: Mapped[float | None]
    yielded: Mapped[bool] = mapped_column(default=False, server_default=false())
    """It is paused because it has made room, and not by its user: who asks for it resumes it."""

    progress: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    """Of a training `resolved` is there while it runs: what every "auto" came to."""
    error: Mapped[dict[str, Any] | None]
    """{class, message, …} of a failed job."""

    created_at: Mapped[float] = mapped_column(default=db_now())
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]


class JobEvent(Base):
    __tablename__ = "job_events"

    # SQLite numbers rows by itself only under the very type INTEGER.
    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True
    )
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    level: Mapped[str]
    message: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any]]
    created_at: Mapped[float] = mapped_column(default=db_now())


class Metric(Base):
    """A point of a job's curves; a later attempt that repeats a step writes over it."""

    __tablename__ = "metrics"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    values: Mapped[dict[str, Any]]
    token: Mapped[int]
    created_at: Mapped[float] = mapped_column(default=db_now())


class Attempt(Base):
    """One claim of a job."""

    __tablename__ = "attempts"
    __table_args__ = (Index("ix_attempts_outcome_finished_at", "outcome", "finished_at"),)

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    token: Mapped[int] = mapped_column(primary_key=True)
    worker_id: Mapped[str]
    outcome: Mapped[str | None]
    """succeeded, failed, cancelled, paused, yielded, drained or lost; None while it runs."""
    failure: Mapped[str | None]
    """The class of a failed one; of a lost one `lease` if its worker fell silent, else why."""
    message: Mapped[str | None] = mapped_column(Text)
    resumed_from_step: Mapped[int | None]
    runner_pid: Mapped[int | None]
    checkpoints: Mapped[int] = mapped_column(default=0, server_default="0")
    checkpoint_bytes: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    checkpoint_seconds: Mapped[float] = mapped_column(default=0, server_default="0")
    """Sums over the attempt: writing, hashing and storing. They stay when checkpoints go."""
    started_at: Mapped[float] = mapped_column(default=db_now())
    finished_at: Mapped[float | None]


class Checkpoint(Base):
    __tablename__ = "checkpoints"

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    token: Mapped[int]
    step: Mapped[int]
    storage_key: Mapped[str] = mapped_column(index=True)
    manifest: Mapped[list[Any]]
    """path, bytes and sha256 of each file: what resume verifies before it uses one."""
    metrics: Mapped[dict[str, Any]]
    bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[float] = mapped_column(default=db_now())
    rejected: Mapped[str | None]
    """Why it was found unusable; such a one is never tried again."""


class ResultRow(Base):
    """One finished row of an evaluate or generate job; durable as soon as it is written."""

    __tablename__ = "result_rows"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    row: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[dict[str, Any]]


class LogChunk(Base):
    """What a runner printed, in pieces, bounded per attempt."""

    __tablename__ = "log_chunks"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    token: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(Text)
