"""What states a job can be in and which follow which. Knows no database."""

from enum import StrEnum


class JobStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


S = JobStatus

TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    S.QUEUED: frozenset({S.RUNNING, S.PAUSED, S.FAILED, S.CANCELLED}),
    S.RUNNING: frozenset({S.SUCCEEDED, S.FAILED, S.CANCELLED, S.QUEUED, S.PAUSED}),
    S.PAUSED: frozenset({S.QUEUED, S.CANCELLED}),
    S.SUCCEEDED: frozenset(),
    S.FAILED: frozenset(),
    S.CANCELLED: frozenset(),
}

FINAL = frozenset(status for status, after in TRANSITIONS.items() if not after)
LIVE = frozenset(JobStatus) - FINAL
"""Asked for by these, and not by what is not final: no index finds what is not in it."""


def sources(target: JobStatus) -> frozenset[JobStatus]:
    """The states from which `target` can be reached in one step."""
    return frozenset(status for status, after in TRANSITIONS.items() if target in after)
