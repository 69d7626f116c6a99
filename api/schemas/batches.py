"""OpenAI's batch object."""

from typing import Literal

from pydantic import Field, field_validator

from api.schemas.common import Body, Metadata, Shape
from api.schemas.files import ExpiresAfter
from core.batches.lines import Endpoint
from core.batches.service import Order, counts_of, life_of, seconds_of
from core.batches.status import BatchStatus, moments, status_of
from core.jobs.models import Job


class BatchBody(Body):
    input_file_id: str = Field(min_length=1, max_length=100)
    endpoint: Endpoint
    completion_window: str = Field(
        max_length=6, pattern="^[1-9][0-9]*[hm]$", examples=["24h", "30m"]
    )
    metadata: Metadata | None = None
    output_expires_after: ExpiresAfter | None = None

    @field_validator("completion_window")
    @classmethod
    def _within_bounds(cls, window: str) -> str:
        seconds_of(window)
        return window

    def order(self) -> Order:
        return Order(
            input_file_id=self.input_file_id,
            endpoint=self.endpoint,
            completion_window=self.completion_window,
            metadata=self.metadata or {},
            output_seconds=self.output_expires_after and self.output_expires_after.seconds,
        )


class BatchErrorShape(Shape):
    code: str
    message: str
    line: int | None = None
    param: str | None = None


class BatchErrorsShape(Shape):
    """The first bad lines; there are `total` errors."""

    object: Literal["list"] = "list"
    data: list[BatchErrorShape]
    total: int


class RequestCountsShape(Shape):
    total: int
    completed: int
    failed: int


class InputDetailsShape(Shape):
    cached_tokens: int = 0


class OutputDetailsShape(Shape):
    reasoning_tokens: int = 0


class BatchUsageShape(Shape):
    input_tokens: int
    input_tokens_details: InputDetailsShape = InputDetailsShape()
    output_tokens: int
    output_tokens_details: OutputDetailsShape = OutputDetailsShape()
    total_tokens: int


class BatchShape(Shape):
    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None
    errors: BatchErrorsShape | None
    input_file_id: str
    completion_window: str
    status: BatchStatus
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCountsShape
    usage: BatchUsageShape | None
    metadata: dict[str, str]


def batch_shape(job: Job) -> BatchShape:
    request, life = job.request, life_of(job)
    times = {name: None if at is None else int(at) for name, at in moments(life).items()}
    return BatchShape(
        id=job.id,
        endpoint=request["endpoint"],
        model=request["model"],
        errors=_errors(job),
        input_file_id=request["input_file_id"],
        completion_window=request["completion_window"],
        status=status_of(life),
        output_file_id=request.get("output_file_id"),
        error_file_id=request.get("error_file_id"),
        created_at=int(job.created_at),
        expires_at=int(job.expires_at),
        request_counts=RequestCountsShape(**counts_of(job)),
        usage=_usage(request.get("usage")),
        metadata=job.labels,
        **times,
    )


def _errors(job: Job) -> BatchErrorsShape | None:
    """What is wrong with the file; or, where the work broke, why."""
    if job.request["errors"] is not None:
        return BatchErrorsShape(**job.request["errors"])
    if job.error is None:
        return None
    error = BatchErrorShape(code=job.error["class"], message=job.error["message"])
    return BatchErrorsShape(data=[error], total=1)


def _usage(tokens: dict[str, int] | None) -> BatchUsageShape | None:
    if tokens is None:
        return None
    return BatchUsageShape(
        input_tokens=tokens["input"],
        output_tokens=tokens["output"],
        total_tokens=tokens["input"] + tokens["output"],
    )
