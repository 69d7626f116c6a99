"""Goal 4: weights, and what training steps take of memory, against peft and the classic script.

    python -m benchmarks.memory FOLDER [--model NAME] [--rounds 3] [--minutes M]

The contestants of goals 1 to 3 on the same material, each sampled from outside while it steps, in
bf16 also where a CPU emulates it: memory is the same. Goes on where it was stopped; writes
benchmarks/results/memory-NAME.json.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks import record
from benchmarks.comparison import Comparison, conclude, table
from benchmarks.contest import Contestant, Outcome, contest, forget
from benchmarks.precision import native
from benchmarks.training.__main__ import Bench
from benchmarks.training.costs import Sizes
from benchmarks.training.material import Material, prepare

MEBIBYTE = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float)
    options = parser.parse_args()
    material = prepare(options.model, options.folder, Path(".tuneyard/bench") / options.model)
    bench = Bench(material, options.model, "bf16")
    tuned = Bench(material, options.model, native()).tune()
    contestants = [
        bench.ours("8bit"),
        bench.ours("bf16"),
        bench.peer("peft", "bf16", tuned["peft"]),
        bench.peer("trl", "bf16", tuned["trl"]),
        bench.peer("classic", "fp32", {}),
    ]
    name = f"memory-{options.model}"
    outcome = contest(
        name, list(map(sampled, contestants)), rounds=options.rounds, minutes=options.minutes
    )
    rows = conclude(with_weights(outcome), comparisons(material))
    about = {"model": options.model, "tuned": tuned}
    record.write(name, about | {"comparisons": rows, **asdict(outcome)})
    forget(name)
    print(table(rows))


def sampled(contestant: Contestant) -> Contestant:
    """Its memory watched, with glibc's allocator as it comes."""
    command = (sys.executable, "-m", "benchmarks.memory.sampled", json.dumps(contestant.command))
    return replace(contestant, command=command, environment={})


def with_weights(outcome: Outcome) -> Outcome:
    """Each round with the bytes of the weights, which a contestant tells once."""
    rounds = {
        name: [one | {"weight_bytes": outcome.about[name]["weight_bytes"]} for one in rounds]
        for name, rounds in outcome.rounds.items()
    }
    return replace(outcome, rounds=rounds)


def comparisons(material: Material) -> Iterator[Comparison]:
    from transformers import AutoConfig

    weights = {"figure": "weight_bytes", "unit": "MiB of weights"}
    growth = {"figure": "peak_growth_bytes", "unit": "MiB of growth"}
    each = {"scale": 1 / MEBIBYTE, "lower": True}
    ideal = least_weights(AutoConfig.from_pretrained(material.model))
    yield Comparison(4, "ours-8bit", "peft-bf16", ideal=ideal, aim=0.65, **weights, **each)
    yield Comparison(4, "ours-8bit", "classic-fp32", aim=0.3, **growth, **each)
    yield Comparison(4, "ours-8bit", "peft-bf16", **growth, **each)
    yield Comparison(4, "ours-8bit", "trl-bf16", **growth, **each)
    yield Comparison(4, "ours-8bit", "ours-bf16", **growth, **each)


def least_weights(config) -> float:
    """8-bit layers beside 16-bit embeddings, over all in 16 bit."""
    sizes = Sizes.of(config)
    tables = sizes.head * (1 if config.tie_word_embeddings else 2)
    return (sizes.trunk + 2 * tables) / (2 * (sizes.trunk + tables))


if __name__ == "__main__":
    main()
