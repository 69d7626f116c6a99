"""Goal 8: one batch over 16 adapters against one over a single adapter, and against PEFT's mixed
batches, in turns.

    python -m benchmarks.adapters FOLDER [--model NAME] [--rounds 5] [--minutes M]

A turn is 64 questions of GeoQuery with the schema in the prompt, greedy. `ours-1` and
`ours-16` keep an engine whose adapters have computed their prefixes; `ours-16-cold` computes all 16
in each turn. Goes on where it was stopped; writes benchmarks/results/adapters-NAME.json.
"""

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import calling, record
from benchmarks.adapters.material import make_adapters
from benchmarks.comparison import Comparison, conclude, table
from benchmarks.contest import Contestant, Outcome, contest, forget
from benchmarks.inference import costs
from benchmarks.inference.__main__ import lengths
from benchmarks.inference.contestants import FIGURE, Players
from benchmarks.inference.material import Material, prepare
from benchmarks.training.costs import Sizes

BATCH, ADAPTERS = 64, 16
PEER_ROWS = {"qwen2.5-coder-0.5b": 32}  # at a time, else the whole batch: with 64 it takes 17 GB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float)
    options = parser.parse_args()
    home = Path(".tuneyard/bench") / options.model
    material = prepare(options.model, options.folder, home)
    adapters = list(map(str, make_adapters(material.adapter, home / "adapters", ADAPTERS)))
    told = Players(material, BATCH).told("none", merged=False)
    contestants = [
        ours("ours-1", told, adapters[:1], keep=True),
        ours("ours-16", told, adapters, keep=True),
        ours("ours-16-cold", told, adapters, keep=False),
        peft("peft-16", told, adapters, rows=PEER_ROWS.get(options.model, BATCH)),
    ]
    name = f"adapters-{options.model}"
    outcome = contest(name, contestants, rounds=options.rounds, minutes=options.minutes)
    rows = conclude(outcome, comparisons(material, outcome, BATCH))
    about = {"model": options.model, "batch": BATCH, "adapters": ADAPTERS}
    record.write(name, about | {"comparisons": rows, **asdict(outcome)})
    forget(name)
    print(table(rows))


def ours(name: str, told: dict[str, Any], adapters: list[str], *, keep: bool) -> Contestant:
    return calling.ours(name, "adapters.ours", told | {"adapters": adapters, "keep": keep})


def peft(name: str, told: dict[str, Any], adapters: list[str], *, rows: int) -> Contestant:
    return calling.peer(name, "hf", "peft_adapters.py", told | {"adapters": adapters, "rows": rows})


def comparisons(material: Material, outcome: Outcome, batch: int) -> Iterator[Comparison]:
    """Ideals by the tokens of the prefix: computed by no warm turn, by 16 adapters in a cold one,
    by each request of the peer."""
    from transformers import AutoConfig

    sizes = Sizes.of(AutoConfig.from_pretrained(material.model))
    given = lengths(outcome.median("ours-16", "tokens_a_request"), material)
    warm = costs.ours(**given | {"prefix": 0}, batch=batch).operations(sizes)
    cold = costs.ours(**given, batch=batch // ADAPTERS).operations(sizes)
    whole = costs.whole_prompts(**given).operations(sizes)
    each = {"figure": FIGURE, "unit": "requests/s"}
    yield Comparison(8, "ours-16", "ours-1", ideal=1.0, aim=0.85, **each)
    yield Comparison(8, "ours-16-cold", "ours-1", ideal=warm / cold, **each)
    yield Comparison(8, "ours-16", "peft-16", ideal=whole / warm, aim=1.5, **each)


if __name__ == "__main__":
    main()
