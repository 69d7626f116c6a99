"""What `/v1/workers` and `/v1/queues` show of the live fleet."""

from typing import Any, Literal

from pydantic import Field

from api.schemas.common import Shape
from core.fleet.models import Worker
from core.jobs.occupancy import Queue, Work


class WorkShape(Shape):
    """A job that runs. `id` and `progress` are shown of one's own project's jobs alone."""

    id: str | None
    type: str
    progress: dict[str, Any] | None
    started_at: int


class WorkerShape(Shape):
    id: str
    object: Literal["worker"] = "worker"
    queue: str
    device: str
    slots: int
    memory_bytes: int = Field(description="What a job on its device can have.")
    models: list[str] = Field(description="Base models in its store.")
    versions: dict[str, Any]
    running: list[WorkShape]
    throughput: dict[str, float] = Field(
        description="What the last finished job of a type measured: `train_tokens_per_second` …"
    )
    started_at: int
    heartbeat_at: float


class QueueShape(Shape):
    """Of all projects together. `ready` are the queued jobs that wait for a slot alone, not for
    another job or a moment."""

    id: str
    object: Literal["queue"] = "queue"
    queued: int
    ready: int
    running: int
    slots: int
    free_slots: int
    oldest_wait_seconds: float | None
    workers: list[str]


def worker_shape(
    row: Worker, work: list[Work], throughput: dict[str, float], *, project_id: str
) -> WorkerShape:
    return WorkerShape(
        id=row.id,
        queue=row.queue,
        device=row.device,
        slots=row.slots,
        memory_bytes=row.memory_bytes,
        models=row.models,
        versions=row.versions,
        running=[work_shape(one, project_id=project_id) for one in work],
        throughput=throughput,
        started_at=int(row.started_at),
        heartbeat_at=row.heartbeat_at,
    )


def work_shape(work: Work, *, project_id: str) -> WorkShape:
    ours = work.project_id == project_id
    return WorkShape(
        id=work.job_id if ours else None,
        type=work.type,
        progress=work.progress if ours else None,
        started_at=int(work.started_at),
    )


def queue_shape(queue: Queue) -> QueueShape:
    return QueueShape(
        id=queue.name,
        queued=queue.queued,
        ready=queue.ready,
        running=queue.running,
        slots=queue.slots,
        free_slots=queue.free_slots,
        oldest_wait_seconds=queue.oldest_wait_seconds,
        workers=queue.workers,
    )
