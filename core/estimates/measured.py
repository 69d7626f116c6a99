"""What finished trainings measured, and what that says of another one's time. Knows no tokenizer.

A training's time is that of its steps (tokens through the layers, at the measured speed), that of
its validations (a forward pass, a third of a step's work) and what remains: starting, loading,
tokenising, saving, which is taken to be as it was.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.basemodels.models import BaseModel
from core.datasets.models import Dataset
from core.fleet.models import Worker
from core.jobs.models import Attempt, Job
from core.jobs.status import JobStatus
from core.training.planning import total_steps

FORWARD_SHARE = 1 / 3  # of a training step's work, that of a validation with as many tokens
LOOKED_AT = 200  # finished trainings, the newest


@dataclass(frozen=True)
class Measured:
    """A finished training: what it was, where it ran, how long, and what it says of its speed."""

    job_id: str
    project_id: str
    params: dict[str, Any]
    result: dict[str, Any]
    seconds: float
    worker_id: str
    device: str
    parameters: int

    @property
    def tokens_per_second(self) -> float:
        return self.result["tokens_per_second"]

    @property
    def tokens_per_example(self) -> float:
        return self.tokens_per_second / self.result["examples_per_second"]

    def learned(self, dataset: Dataset) -> bool:
        """Whether that was its dataset; a job may have named it either way."""
        named = self.params["dataset"] in (dataset.id, dataset.name)
        return named and self.project_id == dataset.project_id

    @property
    def computed_per_epoch(self) -> int:
        """Tokens that went through its layers in an epoch."""
        total = self.tokens_per_second * self.result["train_seconds"]
        return round(total / max(self.result["epochs"], 0.001))  # rounded to three digits

    @property
    def asked_with(self) -> tuple[Any, ...]:
        """What its tokens depend on beside the data: base, prompt, longest row, rows. None of an
        older one, which did not count them."""
        resolved = self.result["resolved"]
        rows = self.result["train_examples"] if "train_tokens" in self.result else None
        return self.params["model"], resolved["prompt"], resolved["max_length"], rows

    @property
    def precision(self) -> str:
        return self.result["resolved"]["precision"]

    @property
    def quantization(self) -> str:
        return self.result["resolved"]["quantization"]

    @property
    def layers(self) -> int | str:
        return self.result["resolved"]["lora"]["layers"]


@dataclass(frozen=True)
class Wanted:
    """The training whose time is asked for, on one worker."""

    base: BaseModel
    dataset: Dataset
    quantization: str
    layers: int | str
    epochs: float
    steps: int
    save_steps: int | None
    computed_per_epoch: int
    examples: int
    validation_examples: int


@dataclass(frozen=True)
class Time:
    """`basis`: `measured` by a training of the same base on such a device, `scaled` by size from
    one of another base, or `other_device`."""

    seconds: float
    training_seconds: float
    tokens_per_second: float
    basis: str
    job_id: str
    project_id: str


def trainings(session: Session) -> list[Measured]:
    """The newest finished ones of all projects, newest first."""
    spent = (
        select(func.sum(Attempt.finished_at - Attempt.started_at))
        .where(Attempt.job_id == Job.id)
        .correlate(Job)
        .scalar_subquery()
    )
    rows = session.execute(
        select(
            Job.id,
            Job.project_id,
            Job.params,
            Job.result,
            spent,
            Worker.id,
            Worker.device,
            BaseModel.parameters,
        )
        .join(Attempt, (Attempt.job_id == Job.id) & (Attempt.token == Job.token))
        .join(Worker, Worker.id == Attempt.worker_id)
        .join(BaseModel, BaseModel.name == Job.params["model"].as_string())
        .where(Job.type == "train", Job.status == JobStatus.SUCCEEDED)
        .order_by(Job.id.desc())
        .limit(LOOKED_AT)
    )
    found = [Measured(*row) for row in rows]
    return [one for one in found if one.result and one.result.get("tokens_per_second")]


def most_similar(known: Sequence[Measured], wanted: Wanted, *, worker: Worker) -> Measured | None:
    """Same base first, then device, quantisation, layers, data and worker; of those the newest."""

    def likeness(one: Measured) -> tuple[bool, ...]:
        return (
            one.params["model"] == wanted.base.name,
            one.device == worker.device,
            one.quantization == wanted.quantization,
            one.layers == wanted.layers,
            one.learned(wanted.dataset),
            one.worker_id == worker.id,
        )

    # Of equals `max` takes the first, which is the newest.
    return max(known, key=likeness, default=None)


def time_of(wanted: Wanted, measured: Measured, *, worker: Worker) -> Time:
    """How long the training takes, by one that was measured."""
    same_base = measured.params["model"] == wanted.base.name
    scale = 1.0 if same_base else measured.parameters / wanted.base.parameters
    speed = measured.tokens_per_second * scale
    training = wanted.epochs * wanted.computed_per_epoch / speed
    tokens = wanted.computed_per_epoch / wanted.examples * wanted.validation_examples
    validating = _validations(wanted.epochs, wanted.steps, wanted.save_steps) * tokens
    seconds = training + validating * FORWARD_SHARE / speed + _rest(measured)
    basis = "measured" if same_base else "scaled"
    if measured.device != worker.device:
        basis = "other_device"
    return Time(
        seconds=round(seconds, 1),
        training_seconds=round(training, 1),
        tokens_per_second=round(speed, 1),
        basis=basis,
        job_id=measured.job_id,
        project_id=measured.project_id,
    )


def _rest(measured: Measured) -> float:
    """What a training took beside its steps and validations."""
    result = measured.result
    resolved = result["resolved"]
    steps = total_steps(result["epochs"], result["train_examples"], resolved["batch_size"])
    validations = _validations(result["epochs"], steps, resolved["save_steps"])
    tokens = result["validation_examples"] * measured.tokens_per_example
    validating = validations * tokens * FORWARD_SHARE / measured.tokens_per_second
    return max(0.0, measured.seconds - result["train_seconds"] - validating)


def _validations(epochs: float, steps: int, save_steps: int | None) -> int:
    return math.ceil(steps / save_steps) if save_steps else math.ceil(epochs)
