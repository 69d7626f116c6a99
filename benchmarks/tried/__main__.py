"""What was tried for a training step, in turns with the step as it is: threads, allocator, compiled
parts, optimizer, quantisation, dtype, kept states of the lower layers.

    python -m benchmarks.tried FOLDER [--model NAME] [--rounds 5] [--minutes M]

The material of goals 1 to 3: 16 examples behind one schema, 8 bit, a LoRA on all layers unless a
way says otherwise. jemalloc plays where the system has it (Debian's libjemalloc2). Goes on where it
was stopped; writes benchmarks/results/tried-NAME.json.
"""

import argparse
import ctypes.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.calling import ours
from benchmarks.comparison import Comparison
from benchmarks.contest import Contestant, Outcome, allowance
from benchmarks.heats import Heat, forget_all, play
from benchmarks.precision import native
from benchmarks.training.__main__ import FIGURE, Bench
from benchmarks.training.material import Material, prepare
from benchmarks.tried.shown import table

# Heats: the step as it is (first), and others. All at once would not have room in memory.
HEATS = {
    "machine": ("as-it-is", "one-thread", "jemalloc"),
    "step": ("as-it-is", "compiled", "foreach", "fused"),
    "weights": ("as-it-is", "not-quantised", "4bit", "fp32"),
    "lower": ("two-thirds", "two-thirds-kept"),
}
JEMALLOC = ctypes.util.find_library("jemalloc")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float)
    options = parser.parse_args()
    material = prepare(options.model, options.folder, Path(".tuneyard/bench") / options.model)
    bench = Bench(material, options.model, native())
    name = f"tried-{options.model}"
    found = list(heats(bench))
    about = {"model": options.model, "dtype": bench.dtype, "without": [*without(bench.dtype)]}
    told = play(name, found, about, rounds=options.rounds, left=allowance(options.minutes))
    forget_all(name, found)
    print(table(told))


def without(dtype: str) -> Iterator[str]:
    """Ways that can't be tried here."""
    if JEMALLOC is None:
        yield "jemalloc"
    if dtype == "fp32":
        yield "fp32"  # everybody computes in it


def heats(bench: Bench) -> Iterator[Heat]:
    for heat, ways in HEATS.items():
        there = [way for way in ways if way not in without(bench.dtype)]
        if len(there) > 1:
            players = [contestant(bench, way) for way in there]
            yield Heat(heat, players, lambda outcome: compared(bench.material, outcome))


def contestant(bench: Bench, way: str) -> Contestant:
    precision = {"not-quantised": bench.dtype, "fp32": "fp32"}.get(way, "8bit")
    told: dict[str, Any] = bench.told(precision) | {"way": way, "micro_batch": 16}
    if way == "4bit":
        told["quantization"] = "4bit"
    if way == "one-thread":
        told["threads"] = 1
    made = ours(way, "tried.ours", told)
    return replace(made, environment={"LD_PRELOAD": JEMALLOC}) if way == "jemalloc" else made


def compared(material: Material, outcome: Outcome) -> Iterator[Comparison]:
    """Each way against the first."""
    first, *others = outcome.rounds
    for way in others:
        yield Comparison(0, way, first, FIGURE, "examples/s", scale=1 / material.labels)


if __name__ == "__main__":
    main()
