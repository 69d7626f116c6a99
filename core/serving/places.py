"""Which server a model's name leads to, and with which adapter. Knows no Redis and no job.

A server of a base model answers every project: base models are the operator's, and an adapter is
found by the name that the asking project gives it. One of a merged model has that model's storage
key for an address, which only its own project's names lead to.
"""

from dataclasses import dataclass

from core.adapters.service import ModelTarget
from core.jobs.types.models import model_inputs
from core.jobs.types.serve import address_of


@dataclass(frozen=True)
class Place:
    """`server`: the address of the model's servers. `adapter`: storage key of LoRA weights."""

    server: str
    adapter: str | None = None


def place_of(target: ModelTarget) -> Place:
    adapter = model_inputs(target).get("adapter")
    return Place(address_of(target), adapter.key if adapter else None)
