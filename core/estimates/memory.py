"""Whether a training fits a worker, and how sparing it is there: by the training's formulas."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from core.basemodels.models import BaseModel
from core.fleet.models import Worker
from core.jobs.types.models import bytes_to_load
from core.training.examples import Example
from core.training.hyperparameters import TrainSettings, auto_memory
from core.training.planning import shares_prefix
from core.training.sizing import ACTIVATION_SHARE, Sizing

ITEM_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}


@dataclass(frozen=True)
class Room:
    """`needed_bytes` with the groups that the training would choose there."""

    needed_bytes: int
    micro_batch: int
    gradient_checkpointing: bool
    fits: bool


def room_on(
    worker: Worker,
    base: BaseModel,
    examples: Sequence[Example],
    settings: TrainSettings,
    *,
    resolved: dict[str, Any],
    ceiling: int | None,
) -> Room | None:
    """None where the model's sizes or the examples' lengths are not known."""
    shape = base.manifest.get("shape")
    if not shape or not examples:
        return None
    config = SimpleNamespace(**shape)
    loaded = bytes_to_load(
        base.parameters, quantization=settings.quantization, precision=resolved["precision"]
    )
    layers = resolved["lora"]["layers"]
    sizing = Sizing(
        config,
        examples,
        layers=config.num_hidden_layers if layers == "all" else layers,
        itemsize=ITEM_BYTES[resolved["precision"]],
        share_prefix=shares_prefix(settings),
        budget=ACTIVATION_SHARE * max(0, worker.memory_bytes - loaded),
        ceiling=ceiling,
    )
    micro, checkpointing = auto_memory(
        settings.batch_size,
        lambda *choice: sizing.fits(*choice) and not sizing.failed_before(*choice),
        micro_batch=settings.micro_batch,
        checkpointing=settings.gradient_checkpointing,
    )
    needed = loaded + sizing.need(micro, checkpointing).need_bytes
    return Room(needed, micro, checkpointing, needed <= worker.memory_bytes)
