"""What a training will do, before it does it: the prompt, every "auto" as a value, the steps.

The training goes by these and so does an estimate of it. Knows no model class and no device but by
its name.
"""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

from core.training import hyperparameters
from core.training.hyperparameters import TrainSettings
from core.training.prompts import PromptTemplate

VALIDATION_LIMIT = 256  # examples; the loss of more would only cost time

One = TypeVar("One")


def choose_template(
    settings: TrainSettings, *, kind: str, schema_text: str | None, dialect: str | None
) -> PromptTemplate:
    """How the examples of such a dataset are asked."""
    style = settings.prompt
    if style == "auto":
        style = hyperparameters.auto_prompt(kind)
    return PromptTemplate(
        style, schema_text=schema_text if style == "schema" else None, dialect=dialect
    )


def resolve(
    settings: TrainSettings,
    *,
    examples: int,
    parameters: int,
    layers: int,
    device: str,
    precision: str,
) -> dict[str, Any]:
    """Every "auto" as a value, but those of memory: `micro_batch`, `gradient_checkpointing`."""
    values = settings.to_dict()
    values["precision"] = precision
    if settings.epochs == "auto":
        values["epochs"] = hyperparameters.auto_epochs(examples)
    if settings.learning_rate == "auto":
        values["learning_rate"] = hyperparameters.auto_learning_rate(parameters)
    if settings.lora.layers == "auto":
        values["lora"]["layers"] = hyperparameters.auto_layers(layers, device)
    return values


def batches_per_epoch(examples: int, batch_size: int) -> int:
    return math.ceil(examples / batch_size)


def total_steps(epochs: float, examples: int, batch_size: int) -> int:
    """Optimizer steps of a training that nothing stops early."""
    steps = epochs * batches_per_epoch(examples, batch_size)
    return max(1, math.ceil(round(steps, 6)))  # 1.1 * 10 is a little more than 11


def shares_prefix(settings: TrainSettings) -> bool:
    """Dropout would draw one mask over a group's shared prefix, so it takes the plain path."""
    return settings.lora.dropout == 0


def thin_out(examples: Sequence[One]) -> list[One]:
    """At most VALIDATION_LIMIT, evenly spread: the same ones at each validation."""
    step = max(1, -(-len(examples) // VALIDATION_LIMIT))
    return list(examples[::step])


def validated(examples: int) -> int:
    """How many of so many `thin_out` leaves."""
    return len(thin_out(range(examples)))
