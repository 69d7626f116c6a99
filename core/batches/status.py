"""What a batch is, told from the job that it is: one table, and the moments. Pure arithmetic on
what the job's row says; knows no database."""

from dataclasses import dataclass
from enum import StrEnum

from core.jobs.status import JobStatus


class BatchStatus(StrEnum):
    """OpenAI's words."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


class Stop(StrEnum):
    """Why a job was told to stop before it was done."""

    NONE = "none"
    CANCEL = "cancel"
    EXPIRY = "expiry"


J, B = JobStatus, BatchStatus

TABLE: dict[tuple[JobStatus, Stop], tuple[BatchStatus, BatchStatus]] = {
    # The batch until its files are made, and afterwards.
    (J.QUEUED, Stop.NONE): (B.IN_PROGRESS, B.IN_PROGRESS),
    (J.QUEUED, Stop.CANCEL): (B.CANCELLING, B.CANCELLING),
    (J.QUEUED, Stop.EXPIRY): (B.FINALIZING, B.FINALIZING),
    (J.RUNNING, Stop.NONE): (B.IN_PROGRESS, B.IN_PROGRESS),
    (J.RUNNING, Stop.CANCEL): (B.CANCELLING, B.CANCELLING),
    (J.RUNNING, Stop.EXPIRY): (B.FINALIZING, B.FINALIZING),
    (J.PAUSED, Stop.NONE): (B.IN_PROGRESS, B.IN_PROGRESS),
    (J.PAUSED, Stop.CANCEL): (B.CANCELLING, B.CANCELLING),
    (J.PAUSED, Stop.EXPIRY): (B.FINALIZING, B.FINALIZING),
    # It was done before it heard of the wish to stop, or broke before.
    (J.SUCCEEDED, Stop.NONE): (B.FINALIZING, B.COMPLETED),
    (J.SUCCEEDED, Stop.CANCEL): (B.FINALIZING, B.COMPLETED),
    (J.SUCCEEDED, Stop.EXPIRY): (B.FINALIZING, B.COMPLETED),
    (J.FAILED, Stop.NONE): (B.FINALIZING, B.FAILED),
    (J.FAILED, Stop.CANCEL): (B.FINALIZING, B.FAILED),
    (J.FAILED, Stop.EXPIRY): (B.FINALIZING, B.FAILED),
    # Who stopped a job that nobody worked on left no wish: it ended at once.
    (J.CANCELLED, Stop.NONE): (B.CANCELLING, B.CANCELLED),
    (J.CANCELLED, Stop.CANCEL): (B.CANCELLING, B.CANCELLED),
    (J.CANCELLED, Stop.EXPIRY): (B.FINALIZING, B.EXPIRED),
}


@dataclass(frozen=True)
class Life:
    """What a job's row says of its life. `finalized_at`: when the batch's files were made."""

    status: JobStatus
    expires_at: float
    started_at: float | None = None
    cancel_requested_at: float | None = None
    finished_at: float | None = None
    finalized_at: float | None = None

    @property
    def stopped_at(self) -> float | None:
        """When it was told to stop."""
        if self.cancel_requested_at is not None:
            return self.cancel_requested_at
        return self.finished_at if self.status == J.CANCELLED else None

    @property
    def stop(self) -> Stop:
        """A wish that comes behind the expiry is the keeper's, or as good as that."""
        if self.stopped_at is None:
            return Stop.NONE
        return Stop.EXPIRY if self.stopped_at >= self.expires_at else Stop.CANCEL


def status_of(life: Life) -> BatchStatus:
    """`validating` until a worker has begun."""
    before, after = TABLE[life.status, life.stop]
    status = before if life.finalized_at is None else after
    waits = status == B.IN_PROGRESS and life.started_at is None
    return B.VALIDATING if waits else status


def moments(life: Life) -> dict[str, float | None]:
    """OpenAI's `…_at`: when the batch came into each of the states in which it has been."""
    _, end = TABLE[life.status, life.stop]
    found = {f"{status}_at": None for status in B if status != B.VALIDATING}
    found["in_progress_at"] = life.started_at
    if end in (B.CANCELLING, B.CANCELLED):
        found["cancelling_at"] = life.stopped_at
    elif end in (B.FINALIZING, B.EXPIRED):
        found["finalizing_at"] = life.stopped_at
    elif life.started_at is not None:  # a file that was refused leaves nothing to finalize
        found["finalizing_at"] = life.finished_at
    if life.finalized_at is not None:
        found[f"{end}_at"] = life.finalized_at
    return found
