"""Tuneyard's training loop as a benchmark drives it: no job, no checkpoint, no validation."""

from collections.abc import Sequence
from typing import Any


def build_training(
    adapted,
    loaded,
    examples: Sequence[Any],
    *,
    batch_size: int,
    micro_batch: int,
    gradient_checkpointing: bool = False,
    layers: int,
    lower_cache: int = 0,
    epochs: float = 1,
    reporter: "Silent | None" = None,
):
    """A `Training`; the layers below the adapted ones run in every step, unless `lower_cache` says
    in groups of how many examples they are to be run once."""
    from core.training.sizing import Sizing
    from workers.ml import lora, memory
    from workers.ml.plan import Plan
    from workers.ml.training import Training

    memory.keep_freed_memory()
    lora.speed_up(adapted)
    plan = Plan(
        epochs=epochs,
        batch_size=batch_size,
        micro_batch=micro_batch,
        learning_rate=1e-3,
        schedule="linear",
        warmup_ratio=0.1,
        weight_decay=0.0,
        max_grad_norm=1.0,
        precision=loaded.precision,
        save_seconds=float("inf"),
        save_steps=None,
        early_stopping=None,
        seed=1,
        gradient_checkpointing=gradient_checkpointing,
        lower_cache=lower_cache,
    )
    sizing = Sizing(
        loaded.model.config,
        examples,
        layers=layers,
        itemsize=loaded.dtype.itemsize,
        share_prefix=True,
    )
    return Training(
        adapted,
        examples,
        [],
        plan,
        sizing=sizing,
        reporter=reporter or Silent(),
        device=loaded.device,
    )


class Silent:
    """A reporter that keeps how much memory was in use after each step."""

    def __init__(self) -> None:
        self.used: list[int] = []

    def metric(self, step: int, **values: float) -> None:
        self.used.append(int(values["memory_bytes"]))

    def stop_requested(self) -> None:
        return None

    def ignore(self, *args: Any, **kwargs: Any) -> None:
        return None

    progress = event = memory = checkpoint = check = ignore
