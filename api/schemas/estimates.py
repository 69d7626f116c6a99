"""What `/v1/estimates` is asked and shows."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from api.schemas.common import Body, Shape
from core.estimates.measured import Time
from core.estimates.service import Estimate
from core.estimates.sites import Site
from core.estimates.tokens import TokenCount
from core.jobs.types.train import TrainParams


class EstimateBody(Body):
    """The body of a submit of a training to `/v1/jobs`, as far as its costs depend on it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"type": "train", "params": {"model": "smollm2-135m", "dataset": "geo"}}]
        },
    )

    type: Literal["train"] = "train"
    params: TrainParams


class TokensShape(Shape):
    """`basis`: `counted` by the base model's tokenizer with the training's prompt, `sampled` the
    same on an even sample, `measured` by an earlier training on the same data, `statistics` of the
    dataset, without the prompt's template."""

    basis: Literal["counted", "sampled", "measured", "statistics"]
    per_epoch: int
    trained: int = Field(description="Over all epochs.")
    longest_example: int | None


class TimeShape(Shape):
    """`basis`: `measured` by a finished training of the same base model on such a device; `scaled`
    by size from one of another base model; `other_device`: from one on another kind of device,
    which says little. `job` is that training, if it is one's own."""

    seconds: float = Field(description="From the start of its attempt to its end.")
    training_seconds: float = Field(description="Of that, what the steps take.")
    tokens_per_second: float
    basis: Literal["measured", "scaled", "other_device"]
    job: str | None


class SiteShape(Shape):
    """The training on one live worker. What can't be told is null."""

    worker: str
    device: str
    fits: bool | None
    reason: str | None = Field(description="Why it can't run there.")
    needed_bytes: int | None
    memory_bytes: int
    micro_batch: int | None
    gradient_checkpointing: bool | None
    precision: str
    layers: int | str
    time: TimeShape | None


class QueueWaitShape(Shape):
    """`ready`: jobs that wait for a slot before it."""

    ready: int
    running: int
    free_slots: int
    starts_at_once: bool


class EstimateShape(Shape):
    """`steps`, `tokens` and times are those of a training that early stopping does not end."""

    object: Literal["estimate"] = "estimate"
    type: Literal["train"] = "train"
    model: str
    dataset: str
    prompt: str
    train_examples: int
    validation_examples: int
    epochs: float
    batch_size: int
    steps: int
    tokens: TokensShape | None
    worker: str | None = Field(description="Where it fits and is done soonest.")
    time: TimeShape | None = Field(description="On that worker, without what it waits.")
    workers: list[SiteShape]
    queue: QueueWaitShape | None


def estimate_shape(found: Estimate, *, project_id: str) -> EstimateShape:
    asked, best = found.asked, found.best
    return EstimateShape(
        model=asked.base.name,
        dataset=asked.dataset.name,
        prompt=asked.template.style,
        train_examples=asked.examples,
        validation_examples=asked.validation_examples,
        epochs=asked.epochs,
        batch_size=asked.settings.batch_size,
        steps=asked.steps,
        tokens=tokens_shape(asked.tokens, asked.epochs) if asked.tokens else None,
        worker=best.worker.id if best else None,
        time=best and time_shape(best.time, project_id=project_id),
        workers=[site_shape(site, project_id=project_id) for site in found.sites],
        queue=queue_wait_shape(found),
    )


def tokens_shape(count: TokenCount, epochs: float) -> TokensShape:
    return TokensShape(
        basis=count.basis,
        per_epoch=count.per_epoch,
        trained=round(count.per_epoch * epochs),
        longest_example=count.longest,
    )


def site_shape(site: Site, *, project_id: str) -> SiteShape:
    room = site.room
    return SiteShape(
        worker=site.worker.id,
        device=site.worker.device,
        fits=site.usable if room or not site.has_model else None,
        reason=_reason(site),
        needed_bytes=room and room.needed_bytes,
        memory_bytes=site.worker.memory_bytes,
        micro_batch=room and room.micro_batch,
        gradient_checkpointing=room and room.gradient_checkpointing,
        precision=site.resolved["precision"],
        layers=site.resolved["lora"]["layers"],
        time=time_shape(site.time, project_id=project_id),
    )


def time_shape(time: Time | None, *, project_id: str) -> TimeShape | None:
    if time is None:
        return None
    known: dict[str, Any] = {
        name: getattr(time, name)
        for name in ("seconds", "training_seconds", "tokens_per_second", "basis")
    }
    return TimeShape(**known, job=time.job_id if time.project_id == project_id else None)


def queue_wait_shape(found: Estimate) -> QueueWaitShape | None:
    queue = found.queue
    return queue and QueueWaitShape(
        ready=queue.ready,
        running=queue.running,
        free_slots=queue.free_slots,
        starts_at_once=found.starts_at_once,
    )


def _reason(site: Site) -> str | None:
    if not site.has_model:
        return "The worker has not this base model in its store."
    if site.room and not site.room.fits:
        return "Even its smallest groups need more memory than the worker has."
    return None
