"""Where the time of an optimizer step goes: torch's operators by what they are for.

    python -m benchmarks.training.profile FOLDER [--model NAME]

The step is that of goals 1 to 3: 16 of GeoQuery's examples, LoRA on all layers. What large
products of matrices reach on this machine is measured beside it. Writes
benchmarks/results/profile-NAME.json; `benchmarks.training` does so at its end.
"""

import argparse
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.comparison import markdown
from benchmarks.precision import native
from benchmarks.training import costs
from benchmarks.training.material import Material, prepare
from benchmarks.training.ours import build, in_batches

BATCH, STEPS = 16, 3
SIDE = 2048  # of the square matrices that are multiplied
LAYERS, HEAD, LORA = "products with the layers' weights", "the head", "products of LoRA"
ATTENTION, QUANTISED = "attention", "8-bit weights made dense"
POINTWISE, OTHER = "norms, activations, softmax and sums", "copies and all else"
PRODUCTS = ("aten::mm", "aten::addmm", "aten::addmm_")
BATCHED = ("aten::bmm", "aten::baddbmm", "aten::baddbmm_", "flash", "scaled_dot")
POINT_WORDS = """
    softmax silu mul add sub div pow mean rsqrt exp log max sum neg scatter gather sqrt lerp norm
"""
POINTS = tuple(POINT_WORDS.split())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    options = parser.parse_args()
    material = prepare(options.model, options.folder, Path(".tuneyard/bench") / options.model)
    print(section(measure(material, options.model)))


def measure(material: Material, model: str) -> dict[str, Any]:
    """What was written down."""
    figures: dict[str, Any] = {"model": model, "batch": BATCH, "peak": peak(native())}
    figures["steps"] = {one: profiled(material, one) for one in (native(), "8bit")}
    record.write(f"profile-{model}", figures)
    return figures


def peak(precision: str) -> float:
    """Operations a second of large products on all cores."""
    import torch

    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    a, b = (torch.randn(SIDE, SIDE).to(dtype) for _ in range(2))
    speeds = []
    for _ in range(10):
        began = time.perf_counter()
        a @ b
        speeds.append(2 * SIDE**3 / (time.perf_counter() - began))
    return max(speeds)


def profiled(material: Material, precision: str) -> dict[str, Any]:
    """Seconds of a step by kind, after one that does not count; and its products' operations."""
    from torch.profiler import ProfilerActivity, profile
    from transformers import AutoConfig

    told = {
        "model": str(material.model),
        "rows": str(material.rows),
        "adapter": str(material.adapter),
        "precision": native() if precision == "8bit" else precision,
        "quantization": "8bit" if precision == "8bit" else "none",
        "batch": BATCH,
        "micro_batch": BATCH,
        "threads": len(os.sched_getaffinity(0)),
    }
    training, _ = build(told)
    first, *batches = islice(in_batches(training.examples, BATCH), STEPS + 1)
    training.step(first)
    began = time.perf_counter()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
        for batch in batches:
            training.step(batch)
    seconds = (time.perf_counter() - began) / STEPS
    config = AutoConfig.from_pretrained(material.model)
    kinds = by_kind(seen.key_averages(group_by_input_shape=True), config.vocab_size)
    kinds[OTHER] += max(0.0, seconds - sum(kinds.values()))  # Python between the operators
    sizes = costs.Sizes.of(config)
    example = costs.ours(material.prefix, material.own, material.labels, BATCH)
    return {
        "seconds": seconds,
        "kinds": dict(kinds.most_common()),
        "operations": BATCH * example.operations(sizes),
    }


def by_kind(events: Iterable[Any], vocabulary: int) -> Counter:
    """Seconds a step of operators alone, without those that they call."""
    found: Counter = Counter()
    for event in events:
        kind = kind_of(event.key, event.input_shapes, vocabulary)
        found[kind] += event.self_cpu_time_total / 1e6 / STEPS
    return found


def kind_of(name: str, shapes: Sequence[Sequence[int]], vocabulary: int) -> str:
    """What an operator is for, by its name and the shapes that it is given."""
    sizes = {size for shape in shapes if isinstance(shape, list) for size in shape}
    if name in PRODUCTS:
        # Of a product with A or B one side is the rank, small beside any width of a model.
        low_rank = any(
            isinstance(shape, list) and 1 < min(shape, default=0) <= 64 for shape in shapes
        )
        return HEAD if vocabulary in sizes else LORA if low_rank else LAYERS
    if any(part in name for part in BATCHED):
        return ATTENTION
    if "bitsandbytes" in name or "dequant" in name:
        return QUANTISED
    if any(part in name for part in POINTS):
        return HEAD if vocabulary in sizes else POINTWISE
    return OTHER


def section(figures: dict[str, Any]) -> str:
    """As the page shows it."""
    told = []
    for precision, step in figures["steps"].items():
        rows = [("what for", "seconds", "share")]
        for kind, seconds in step["kinds"].items():
            rows.append((kind, f"{seconds:.2f}", f"{seconds / step['seconds']:.0%}"))
        speed = step["operations"] / step["seconds"]
        told.append(
            f"{figures['model']}, {precision}: a step of {figures['batch']} examples takes "
            f"{step['seconds']:.2f} s. The products that the cost model counts come to "
            f"{speed / 1e9:.0f} GFLOP/s over the whole of it; large products alone reach "
            f"{figures['peak'] / 1e9:.0f} here, so {speed / figures['peak']:.0%} of the limit.\n\n"
            f"{markdown(rows)}"
        )
    return "\n\n".join(told)


if __name__ == "__main__":
    main()
