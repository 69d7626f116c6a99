"""Contestant: Tuneyard's training loop, one optimizer step a turn.

Told as JSON: model, rows, adapter, quantization, precision, batch, micro_batch, threads.
"""

import json
import sys
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from benchmarks.peers.turns import Turns
from benchmarks.training.loop import build_training
from benchmarks.training.material import read_rows


def main() -> None:
    turns = Turns()
    told = json.loads(sys.argv[1])
    training, weight_bytes = build(told)
    packages = ("torch", "transformers", "peft", "bitsandbytes", "accelerate")
    turns.ready(*packages, weight_bytes=weight_bytes)
    order = in_batches(training.examples, told["batch"])
    while turns.wait():
        batch = next(order)
        began = time.perf_counter()
        training.step(batch)
        seconds = time.perf_counter() - began
        labels = sum(len(e.completion_ids) for e in batch)
        turns.answer(
            labels_per_second=labels / seconds, seconds_a_label=seconds / labels, seconds=seconds
        )


def build(told: dict[str, Any], *, layers: int | None = None, lower_cache: int = 0):
    """The training, and what the weights of the base take. `layers`: adapt so many, the last ones,
    with an adapter that begins as a job's does."""
    import torch
    from safetensors.torch import load_file

    from core.training.hyperparameters import LoraSettings
    from workers.ml.checkpointing import load_adapter_weights
    from workers.ml.loading import load_base
    from workers.ml.lora import attach_adapter
    from workers.ml.packing import Example

    torch.set_num_threads(told["threads"])
    rows = read_rows(Path(told["rows"]))
    examples = [Example(i, row["prompt_ids"], row["completion_ids"]) for i, row in enumerate(rows)]
    loaded = load_base(
        Path(told["model"]), quantization=told["quantization"], precision=told["precision"]
    )
    adapted = attach_adapter(loaded.model, LoraSettings(layers=layers or "all"), seed=1)
    if layers is None:
        weights = load_file(Path(told["adapter"]) / "adapter_model.safetensors")
        load_adapter_weights(adapted, weights)
    training = build_training(
        adapted,
        loaded,
        examples,
        batch_size=told["batch"],
        micro_batch=told["micro_batch"],
        layers=layers or loaded.model.config.num_hidden_layers,
        lower_cache=lower_cache,
    )
    return training, loaded.weight_bytes


def in_batches(examples: list[Any], size: int) -> Iterator[list[Any]]:
    """The examples over and over, as they stand."""
    endless = cycle(examples)
    while True:
        yield list(islice(endless, size))


if __name__ == "__main__":
    main()
