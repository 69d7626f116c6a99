"""What a fine-tuning job is to a client of OpenAI's API, by the states of the two jobs that do it.

Pure: knows no database. What a user wishes of a running job (`cancel_requested_at`,
`pause_requested_at`) changes nothing here: until its worker has obeyed, it runs.
"""

from enum import StrEnum

from core.jobs.status import JobStatus


class TuningStatus(StrEnum):
    VALIDATING_FILES = "validating_files"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


STATUS: dict[JobStatus, TuningStatus] = {
    JobStatus.QUEUED: TuningStatus.QUEUED,
    JobStatus.RUNNING: TuningStatus.RUNNING,
    JobStatus.PAUSED: TuningStatus.PAUSED,
    JobStatus.SUCCEEDED: TuningStatus.SUCCEEDED,
    JobStatus.FAILED: TuningStatus.FAILED,
    JobStatus.CANCELLED: TuningStatus.CANCELLED,
}
"""Of a training whose files are validated."""


def status_of(train: JobStatus, prepare: JobStatus | None) -> TuningStatus:
    """`prepare` is None where the training waits for none: its dataset was ready before.

    A training that waits for a prepare which has failed is about to fail too; until it has, its
    files are what stands in the way.
    """
    if train == JobStatus.QUEUED and prepare not in (None, JobStatus.SUCCEEDED):
        return TuningStatus.VALIDATING_FILES
    return STATUS[train]
