"""The objects that responses show, made of core's rows."""

from typing import Any

from api.schemas.common import Shape
from core.adapters.models import Adapter, AdapterVersion
from core.artifacts.models import Artifact
from core.datasets.models import Dataset
from core.jobs.models import Attempt, Checkpoint, Job, JobEvent


class ArtifactShape(Shape):
    id: str
    object: str = "artifact"
    path: str
    bytes: int
    sha256: str
    created_at: int


class DatasetShape(Shape):
    id: str
    object: str = "dataset"
    name: str
    status: str
    kind: str | None
    file: str
    database: str | None
    job: str
    splits: dict[str, Any] | None
    statistics: dict[str, Any] | None
    report: dict[str, Any] | None
    content_hash: str | None
    created_at: int


class JobShape(Shape):
    id: str
    object: str = "job"
    type: str
    status: str
    params: dict[str, Any] | None
    priority: int
    time_limit_seconds: float
    depends_on: str | None
    retry_of: str | None
    run_after: int | None
    progress: dict[str, Any] | None
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    attempt: int
    worker: str | None
    cancel_requested: bool
    pause_requested: bool
    artifacts: list[ArtifactShape] | None = None
    created_at: int
    started_at: int | None
    finished_at: int | None


class EventShape(Shape):
    id: str
    object: str = "job.event"
    level: str
    message: str
    data: dict[str, Any]
    created_at: int


class AttemptShape(Shape):
    number: int
    object: str = "job.attempt"
    worker: str
    outcome: str | None
    failure: str | None
    message: str | None
    resumed_from_step: int | None
    started_at: float
    finished_at: float | None


class CheckpointShape(Shape):
    id: str
    object: str = "job.checkpoint"
    step: int
    bytes: int
    metrics: dict[str, Any]
    attempt: int
    rejected: str | None
    created_at: int


class MetricShape(Shape):
    step: int
    object: str = "job.metric"
    values: dict[str, Any]
    attempt: int
    created_at: float


class RowShape(Shape):
    row: int
    object: str = "job.row"
    data: dict[str, Any]


class VersionShape(Shape):
    id: str
    object: str = "adapter.version"
    address: str
    adapter: str
    version: int
    base_model: str
    dataset: str
    job: str
    bytes: int
    settings: dict[str, Any]
    metrics: dict[str, Any]
    artifacts: list[ArtifactShape] | None = None
    created_at: int


class AdapterShape(Shape):
    id: str
    object: str = "adapter"
    name: str
    latest: str | None
    versions: list[VersionShape]
    created_at: int


def artifact_shape(row: Artifact) -> ArtifactShape:
    return ArtifactShape(
        id=row.id,
        path=row.path,
        bytes=row.bytes,
        sha256=row.sha256,
        created_at=int(row.created_at),
    )


def dataset_shape(row: Dataset) -> DatasetShape:
    return DatasetShape(
        id=row.id,
        name=row.name,
        status=row.status,
        kind=row.kind,
        file=row.file_id,
        database=row.database_id,
        job=row.job_id,
        splits=row.splits,
        statistics=row.statistics,
        report=row.report,
        content_hash=row.content_hash,
        created_at=int(row.created_at),
    )


def job_shape(row: Job, artifacts: list[Artifact] | None = None) -> JobShape:
    return JobShape(
        id=row.id,
        type=row.type,
        status=row.status,
        params=row.params,
        priority=row.priority,
        time_limit_seconds=row.time_limit_seconds,
        depends_on=row.depends_on,
        retry_of=row.retry_of,
        run_after=whole(row.run_after),
        progress=row.progress,
        result=row.result,
        error=row.error,
        attempt=row.token,
        worker=row.worker_id,
        cancel_requested=row.cancel_requested_at is not None,
        pause_requested=row.pause_requested_at is not None,
        artifacts=None if artifacts is None else [artifact_shape(one) for one in artifacts],
        created_at=int(row.created_at),
        started_at=whole(row.started_at),
        finished_at=whole(row.finished_at),
    )


def event_shape(row: JobEvent) -> EventShape:
    return EventShape(
        id=str(row.id),
        level=row.level,
        message=row.message,
        data=row.data,
        created_at=int(row.created_at),
    )


def attempt_shape(row: Attempt) -> AttemptShape:
    return AttemptShape(
        number=row.token,
        worker=row.worker_id,
        outcome=row.outcome,
        failure=row.failure,
        message=row.message,
        resumed_from_step=row.resumed_from_step,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def checkpoint_shape(row: Checkpoint) -> CheckpointShape:
    return CheckpointShape(
        id=row.id,
        step=row.step,
        bytes=row.bytes,
        metrics=row.metrics,
        attempt=row.token,
        rejected=row.rejected,
        created_at=int(row.created_at),
    )


def version_shape(row: AdapterVersion, artifacts: list[Artifact] | None = None) -> VersionShape:
    return VersionShape(
        id=row.id,
        address=row.address,
        adapter=row.adapter.name,
        version=row.version,
        base_model=row.base_model,
        dataset=row.dataset_id,
        job=row.job_id,
        bytes=row.bytes,
        settings=row.settings,
        metrics=row.metrics,
        artifacts=None if artifacts is None else [artifact_shape(one) for one in artifacts],
        created_at=int(row.created_at),
    )


def adapter_shape(row: Adapter) -> AdapterShape:
    there = [version for version in row.versions if version.deleted_at is None]
    return AdapterShape(
        id=row.id,
        name=row.name,
        latest=there[-1].address if there else None,
        versions=[version_shape(version) for version in there],
        created_at=int(row.created_at),
    )


def whole(moment: float | None) -> int | None:
    return None if moment is None else int(moment)
