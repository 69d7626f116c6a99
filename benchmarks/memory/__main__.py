"""Goal 4: weights, and what training steps take of memory, against peft and the classic script.

    python -m benchmarks.memory FOLDER [--model NAME] [--rounds 3] [--minutes M]

The contestants of goals 1 to 3 on the same material. Weights are those of a base that is loaded in
bf16 and not computed with. What steps take is sampled from outside, ours and one peer at a time, in
the dtype that the machine computes in: where bf16 is emulated a step would last minutes. Goes on
where it was stopped; writes benchmarks/results/memory-NAME.json.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.comparison import Comparison, conclude, table
from benchmarks.contest import FOLDER, Contestant, Outcome, Player, allowance
from benchmarks.heats import Heat, forget_all, play
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
    left = allowance(options.minutes)
    material = prepare(options.model, options.folder, Path(".tuneyard/bench") / options.model)
    bench = Bench(material, options.model, native())
    tuned = bench.tune(left)
    name = f"memory-{options.model}"
    told = {"model": options.model, "dtype": bench.dtype, "tuned": tuned}
    told["comparisons"] = compare_weights(name, Bench(material, options.model, "bf16"))
    found = list(heats(bench, tuned))
    told = play(name, found, told, rounds=options.rounds, left=left)
    forget_all(name, found)
    print(table(told["comparisons"]))


def compare_weights(name: str, bench: Bench) -> list[dict[str, Any]]:
    """Both say what theirs take when they are loaded; nobody has a turn."""
    weights = {}
    for one in (bench.ours("8bit"), bench.peer("peft", "bf16", {"micro_batch": 1})):
        player = Player(one, FOLDER / f"{name}-weights-{one.name}.log")
        weights[one.name] = [{"weight_bytes": player.about["weight_bytes"]}]
        player.leave()
    each = {"unit": "MiB of weights", "scale": 1 / MEBIBYTE, "lower": True}
    ideal = least_weights(bench.material)
    wanted = Comparison(4, *weights, "weight_bytes", ideal=ideal, aim=0.65, **each)
    return conclude(Outcome({}, weights), [wanted])


def heats(bench: Bench, tuned: dict[str, dict[str, Any]]) -> Iterator[Heat]:
    """Ours in 8 bit against each: all at once would not have room."""
    ours = bench.ours("8bit")
    others = (
        (bench.peer("classic", "fp32", {}), 0.3),
        (bench.peer("peft", bench.dtype, tuned["peft"]), None),
        (bench.peer("trl", bench.dtype, tuned["trl"]), None),
        (bench.ours(bench.dtype), None),
    )
    for other, aim in others:
        growth = {"unit": "MiB of growth", "scale": 1 / MEBIBYTE, "lower": True, "aim": aim}
        wanted = Comparison(4, ours.name, other.name, "peak_growth_bytes", **growth)
        yield Heat(other.name, [sampled(ours), sampled(other)], lambda _, one=wanted: [one])


def sampled(contestant: Contestant) -> Contestant:
    """Its memory watched, with glibc's allocator as it comes."""
    command = (sys.executable, "-m", "benchmarks.memory.sampled", json.dumps(contestant.command))
    return replace(contestant, command=command, environment={})


def least_weights(material: Material) -> float:
    """8-bit layers beside 16-bit embeddings, over all in 16 bit."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(material.model)
    sizes = Sizes.of(config)
    tables = sizes.head * (1 if config.tie_word_embeddings else 2)
    return (sizes.trunk + 2 * tables) / (2 * (sizes.trunk + tables))


if __name__ == "__main__":
    main()
