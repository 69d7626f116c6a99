"""What a training is given: its plan, and who hears of it. Knows neither a model nor a job."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from core.training.hyperparameters import EarlyStopping


class Reporter(Protocol):
    """Takes what a training tells, and tells it whether it is to stop; a job's context is one."""

    def progress(self, step: int, total: int, **figures: Any) -> None: ...
    def metric(self, step: int, **values: float) -> None: ...
    def event(self, message: str, *, level: str = "info", **data: Any) -> None: ...
    def memory(self, **lesson: Any) -> None: ...
    def checkpoint(self, step: int, write: Callable[[Path], None], **metrics: float) -> None: ...
    def stop_requested(self) -> str | None: ...
    def check(self) -> None: ...


@dataclass(frozen=True)
class Plan:
    """A training with every "auto" resolved, as it begins. A validation and a checkpoint come each
    `save_steps`, or at each epoch's end; a checkpoint alone after `save_seconds` without one.
    `lower_cache`: `Thrift`'s, None where it is still to be decided."""

    epochs: float
    batch_size: int
    micro_batch: int
    learning_rate: float
    schedule: str
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    precision: str
    save_seconds: float
    save_steps: int | None
    early_stopping: EarlyStopping | None
    seed: int
    share_prefix: bool = True
    gradient_checkpointing: bool = False
    lower_cache: int | None = None
