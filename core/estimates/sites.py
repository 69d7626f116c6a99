"""The training that is asked about on one worker: whether it fits, and how long it takes there."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from core.estimates import measured
from core.estimates.asked import Asked
from core.estimates.measured import Time, Wanted
from core.estimates.memory import Room, room_on
from core.fleet.memory import ceiling
from core.fleet.models import Worker
from core.training.planning import shares_prefix

NATIVE_ON_GPU, NATIVE_ON_CPU = "bf16", "fp32"
"""What precision `auto` is taken for where no training has told what it came to."""


@dataclass(frozen=True)
class Site:
    """`room` and `time` are None where they can't be told."""

    worker: Worker
    has_model: bool
    resolved: dict[str, Any]
    room: Room | None
    time: Time | None

    @property
    def usable(self) -> bool:
        return self.has_model and (self.room is None or self.room.fits)


def on_worker(session: Session, asked: Asked, worker: Worker) -> Site:
    resolved = asked.resolve(device=worker.device, precision=_precision(asked, worker))
    room = _room(session, asked, worker, resolved)
    return Site(
        worker=worker,
        has_model=asked.base.name in worker.models,
        resolved=resolved,
        room=room,
        time=_time(asked, worker, resolved, room),
    )


def _room(session: Session, asked: Asked, worker: Worker, resolved: dict[str, Any]) -> Room | None:
    if asked.tokens is None:
        return None
    too_much = ceiling(
        session,
        worker.id,
        base_model=asked.base.name,
        quantization=asked.settings.quantization,
    )
    return room_on(
        worker,
        asked.base,
        asked.tokens.examples,
        asked.settings,
        resolved=resolved,
        ceiling=too_much,
    )


def _time(asked: Asked, worker: Worker, resolved: dict[str, Any], room: Room | None) -> Time | None:
    if asked.tokens is None:
        return None
    micro_batch = room.micro_batch if room else asked.settings.batch_size
    computed = asked.tokens.computed_per_epoch(
        micro_batch, share_prefix=shares_prefix(asked.settings)
    )
    wanted = Wanted(
        base=asked.base,
        dataset=asked.dataset,
        quantization=asked.settings.quantization,
        layers=resolved["lora"]["layers"],
        epochs=asked.epochs,
        steps=asked.steps,
        save_steps=asked.settings.save_steps,
        computed_per_epoch=computed,
        examples=asked.examples,
        validation_examples=asked.validation_examples,
    )
    nearest = measured.most_similar(asked.known, wanted, worker=worker)
    return None if nearest is None else measured.time_of(wanted, nearest, worker=worker)


def _precision(asked: Asked, worker: Worker) -> str:
    if asked.settings.precision != "auto":
        return asked.settings.precision
    native = NATIVE_ON_CPU if worker.device == "cpu" else NATIVE_ON_GPU
    told = (one.precision for one in asked.known if one.worker_id == worker.id)
    return next(told, native)
