"""Which server a model's name leads to, and with which adapter. Knows no Redis and no job.

A server of a base model answers every project: base models are the operator's, and an adapter is
found by the name that the asking project gives it. One of a merged model has that model's storage
key for an address, which only its own project's names lead to.
"""

from dataclasses import dataclass

from core.adapters.service import ModelTarget
from core.jobs.types.models import model_inputs


@dataclass(frozen=True)
class Place:
    """`server`: the address of the model's servers. `adapter`: storage key of LoRA weights."""

    server: str
    adapter: str | None = None


def place_of(target: ModelTarget) -> Place:
    inputs = model_inputs(target)
    model, adapter = inputs["model"], inputs.get("adapter")
    return Place(f"{model.store}/{model.key}", adapter.key if adapter else None)
