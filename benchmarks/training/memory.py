"""What training steps take of memory, and what is estimated: each setting in its own process.

    python -m benchmarks.training.memory [--model NAME] [--steps N] [--only '{"micro_batch": 4}']

The growth is the peak of the resident memory over `steps` steps of 16 examples, less what there was
before the first, on one thread. Writes benchmarks/results/training-memory-NAME.json.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from typing import Any

from benchmarks import record
from benchmarks.training.loop import Silent
from benchmarks.training.material import STORE

BATCH = 16
SHORT = {"prefix": 40, "prompt": 25, "completion": 45}
LONG = {"prefix": 300, "prompt": 60, "completion": 250}
SETTINGS: list[dict[str, Any]] = [
    {"micro_batch": micro, "quantization": quantization, "gradient_checkpointing": checkpointing}
    for quantization in ("8bit", "none")
    for checkpointing in (False, True)
    for micro in (16, 4, 1)
]
SETTINGS += [{"layers": 30}, {"lengths": LONG}, {"lengths": LONG, "gradient_checkpointing": True}]
MB = 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--only", type=json.loads)
    parser.add_argument("--measure", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(measure(options.model, options.steps, **options.measure)))
        return
    found = []
    print("| setting | tokens | labels | grown by, MB | estimate, MB |\n|---|---|---|---|---|")
    for setting in [options.only] if options.only is not None else SETTINGS:
        command = [sys.executable, "-m", "benchmarks.training.memory", "--model", options.model]
        command += ["--steps", str(options.steps), "--measure", json.dumps(setting)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(json.loads(ran.stdout.splitlines()[-1]))
        print(line(found[-1]), flush=True)
    if options.only is None:
        told = {"model": options.model, "settings": found}
        record.write(f"training-memory-{options.model}", told)


def line(one: dict[str, Any]) -> str:
    figures = f"{one['grown_bytes'] / MB:.0f} | {one['need_bytes'] / MB:.0f}"
    return f"| {one['setting']} | {one['tokens']} | {one['labels']} | {figures} |"


def name_of(
    quantization: str, micro_batch: int, layers: int, gradient_checkpointing: bool, long: bool
) -> str:
    words = [{"none": "bf16", "8bit": "8 bit"}[quantization], f"micro_batch {micro_batch}"]
    words += ["long rows"] * long + [f"{layers} layers"] * (layers != 20)
    return ", ".join(words + ["checkpointing"] * gradient_checkpointing)


def measure(
    model: str,
    steps: int,
    *,
    micro_batch: int = BATCH,
    quantization: str = "8bit",
    gradient_checkpointing: bool = False,
    layers: int = 20,
    lengths: dict[str, int] = SHORT,
    depth: int | None = None,
) -> dict[str, Any]:
    """Train a few steps. `depth` cuts the model down: what a step keeps shrinks, what else grows
    does not."""
    import torch

    from benchmarks.training.loop import build_training
    from core.training.hyperparameters import LoraSettings
    from workers.ml import lora, memory
    from workers.ml.loading import load_base

    torch.set_num_threads(1)
    loaded = load_base(STORE / model, quantization=quantization)
    if depth:
        loaded.model.model.layers = loaded.model.model.layers[:depth]
        loaded.model.config.num_hidden_layers = layers = depth
    adapted = lora.attach_adapter(loaded.model, LoraSettings(layers=layers), seed=1)
    examples = make_examples(BATCH * steps, **lengths)
    silent = Silent()
    training = build_training(
        adapted,
        loaded,
        examples,
        batch_size=BATCH,
        micro_batch=micro_batch,
        gradient_checkpointing=gradient_checkpointing,
        layers=layers,
        reporter=silent,
    )
    for weight in loaded.model.parameters():
        weight.sum()  # of a file that is mapped: a page is there when it is first read
    before, began = memory.used(loaded.device), time.monotonic()
    figures = training.run()
    need = training.sizing.need(micro_batch, gradient_checkpointing)
    long = lengths != SHORT
    return {
        "setting": name_of(quantization, micro_batch, layers, gradient_checkpointing, long),
        "quantization": quantization,
        "micro_batch": micro_batch,
        "gradient_checkpointing": gradient_checkpointing,
        "layers": layers,
        **training.sizing.shape(micro_batch),
        "before_bytes": before,
        "grown_bytes": figures["peak_memory_bytes"] - before,
        "need_bytes": need.need_bytes,
        "step_seconds": (time.monotonic() - began) / steps,
        "used_bytes": silent.used,
    }


def make_examples(count: int, *, prefix: int, prompt: int, completion: int) -> list[Any]:
    """Random tokens behind a common prefix; lengths vary by 40 %, as they do in real data."""
    from workers.ml.packing import Example

    chance = random.Random(1)

    def tokens(longest: int, shortest: float = 0.6) -> list[int]:
        length = max(1, int(longest * chance.uniform(shortest, 1)))
        return [chance.randrange(1000, 40_000) for _ in range(length)]

    shared = tokens(prefix, 1)
    return [Example(i, shared + tokens(prompt), tokens(completion)) for i in range(count)]


if __name__ == "__main__":
    main()
