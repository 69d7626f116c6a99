"""Contestant: Tuneyard's training loop with one thing otherwise, one optimizer step a turn.

Told as `benchmarks.training.ours`, and `way`: a word of OPTIMIZER or LOWER, `compiled`, or a name
for what else it is told or its environment changes.
"""

import json
import sys
import time

from benchmarks.peers.turns import Turns
from benchmarks.training.ours import build, in_batches

OPTIMIZER = {"foreach": {"foreach": True}, "fused": {"fused": True}}
LOWER = {"two-thirds": 0, "two-thirds-kept": 16}  # examples in a group that is run once


def main() -> None:
    from workers.ml import memory

    turns = Turns()
    told = json.loads(sys.argv[1])
    way = told["way"]
    if way == "compiled":
        from benchmarks.tried.compiled import replace_pointwise_parts

        replace_pointwise_parts()
    training, weight_bytes = build(told, **lower(told["model"], way))
    training.keep_lower_states()
    for group in training.optimizer.param_groups:
        group.update(OPTIMIZER.get(way, {}))
    turns.ready("torch", "transformers", "peft", "bitsandbytes", weight_bytes=weight_bytes)
    order = in_batches(training.examples, told["batch"])
    while turns.wait():
        batch = next(order)
        began = time.perf_counter()
        training.step(batch)
        seconds = time.perf_counter() - began
        labels = sum(len(e.completion_ids) for e in batch)
        peak = memory.peak(training.device)
        turns.answer(labels_per_second=labels / seconds, peak_bytes=peak)


def lower(model: str, way: str) -> dict[str, int]:
    """Adapt as many layers as `lora.layers: auto` does on a CPU."""
    from transformers import AutoConfig

    from core.training.hyperparameters import auto_layers

    if way not in LOWER:
        return {}
    count = AutoConfig.from_pretrained(model).num_hidden_layers
    return {"layers": auto_layers(count, "cpu"), "lower_cache": LOWER[way]}


if __name__ == "__main__":
    main()
