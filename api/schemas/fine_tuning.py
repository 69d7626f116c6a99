"""OpenAI's fine-tuning objects, with what ours have beside theirs."""

from typing import Any, Literal

from api.schemas.common import Shape
from core.adapters.names import checkpoint_name
from core.finetuning.events import NAMES, TuningEvent
from core.finetuning.status import TuningStatus
from core.finetuning.view import Tuning
from core.jobs.models import Checkpoint
from core.jobs.status import JobStatus


class TuningErrorShape(Shape):
    """`param` is `training_file` or `validation_file` where that one is at fault; `line` ours."""

    code: str
    message: str
    param: str | None
    line: int | None


class HyperparametersShape(Shape):
    """ "auto" until the training has seen its data; then what it came to."""

    n_epochs: Literal["auto"] | int | float
    batch_size: Literal["auto"] | int
    learning_rate_multiplier: Literal["auto"] | float


class SupervisedShape(Shape):
    hyperparameters: HyperparametersShape


class MethodShape(Shape):
    type: Literal["supervised"] = "supervised"
    supervised: SupervisedShape


class ProgressShape(Shape):
    step: int
    total_steps: int
    epoch: float | None
    examples_per_second: float | None
    eta_seconds: float | None


class TuningShape(Shape):
    """OpenAI's object; from `adapter` on ours."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    error: TuningErrorShape | None
    fine_tuned_model: str | None
    finished_at: int | None
    hyperparameters: HyperparametersShape
    model: str
    organization_id: str
    result_files: list[str]
    seed: int
    status: TuningStatus
    trained_tokens: int | None
    training_file: str
    validation_file: str | None
    estimated_finish: int | None
    integrations: list[dict[str, Any]] | None
    metadata: dict[str, str] | None
    method: MethodShape
    suffix: str | None
    adapter: str
    prepare_job: str | None
    queue_position: int | None
    progress: ProgressShape | None
    resolved: dict[str, Any] | None


class TuningEventShape(Shape):
    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any]


class CheckpointMetricsShape(Shape):
    """Means over the step's batch and over the validation examples, by label."""

    step: int
    train_loss: float | None
    train_mean_token_accuracy: float | None
    valid_loss: float | None
    valid_mean_token_accuracy: float | None


class TuningCheckpointShape(Shape):
    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    metrics: CheckpointMetricsShape
    step_number: int


def tuning_shape(tuning: Tuning) -> TuningShape:
    job, asked = tuning.job, tuning.job.request
    hyperparameters = HyperparametersShape(**tuning.hyperparameters)
    return TuningShape(
        id=job.id,
        created_at=int(job.created_at),
        error=None if tuning.error is None else TuningErrorShape(**tuning.error),
        fine_tuned_model=tuning.name if job.status == JobStatus.SUCCEEDED else None,
        finished_at=_whole(job.finished_at),
        hyperparameters=hyperparameters,
        model=asked["model"],
        organization_id=job.project_id,
        result_files=(job.result or {}).get("result_files", []),
        seed=job.params["seed"],
        status=tuning.status,
        trained_tokens=tuning.trained_tokens,
        training_file=asked["training_file"],
        validation_file=asked["validation_file"],
        estimated_finish=_whole(tuning.estimated_finish),
        integrations=None,
        metadata=job.labels or None,
        method=MethodShape(supervised=SupervisedShape(hyperparameters=hyperparameters)),
        suffix=asked["suffix"],
        adapter=job.params["adapter"],
        prepare_job=job.depends_on,
        queue_position=tuning.place,
        progress=_progress(job.progress),
        resolved=tuning.resolved,
    )


def event_shape(event: TuningEvent) -> TuningEventShape:
    return TuningEventShape(**vars(event) | {"created_at": int(event.created_at)})


def checkpoint_shape(
    checkpoint: Checkpoint, tuned: str, points: dict[int, dict[str, Any]]
) -> TuningCheckpointShape:
    """`tuned` is the name of its job's model; `points` those of the training's curves by step."""
    values = points.get(checkpoint.step, {}) | checkpoint.metrics
    metrics = CheckpointMetricsShape(
        step=checkpoint.step, **{theirs: values.get(ours) for ours, theirs in NAMES.items()}
    )
    return TuningCheckpointShape(
        id=checkpoint.id,
        created_at=int(checkpoint.created_at),
        fine_tuned_model_checkpoint=checkpoint_name(tuned, checkpoint.step),
        fine_tuning_job_id=checkpoint.job_id,
        metrics=metrics,
        step_number=checkpoint.step,
    )


def _progress(progress: dict[str, Any] | None) -> ProgressShape | None:
    if progress is None:
        return None
    figures = ("epoch", "examples_per_second", "eta_seconds")
    return ProgressShape(
        step=progress["step"],
        total_steps=progress["total"],
        **{name: progress.get(name) for name in figures},
    )


def _whole(moment: float | None) -> int | None:
    return None if moment is None else int(moment)
