"""Goals 1 to 3: training against the classic script, TRL and plain PEFT, in turns.

    python -m benchmarks.training FOLDER [--model NAME] [--rounds 5] [--minutes M]

FOLDER is GeoQuery's (`db.sqlite`, `examples.jsonl`). All begin with the same adapter on all layers
and take optimizer steps of 16 examples; peers are given their best of a few settings first, which
is kept. Nobody checkpoints activations but the classic script, whose way it is. A figure is trained
label tokens a second, shown as examples. Goes on where it was stopped; writes
benchmarks/results/training-NAME.json.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.contest import Contestant, Outcome, contest, forget
from benchmarks.peers.environments import python_of
from benchmarks.training import costs
from benchmarks.training.material import Material, prepare

PEERS = Path(__file__).parent.parent / "peers"
BATCH = 16
FIGURE = "labels_per_second"
TRL = (
    {"packing": True, "length": 640, "micro_batch": 1, "accumulation": 8},
    {"packing": True, "length": 1280, "micro_batch": 1, "accumulation": 4},
    {"packing": False, "length": 1024, "micro_batch": 4, "accumulation": 4},
    {"packing": False, "length": 1024, "micro_batch": 16, "accumulation": 1},
)
PLAIN = ({"micro_batch": 2}, {"micro_batch": 4}, {"micro_batch": 16})
PRECISIONS = {"bf16": "none", "8bit": "8bit"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float)
    options = parser.parse_args()
    material = prepare(options.model, options.folder, Path(".tuneyard/bench") / options.model)
    bench = Bench(material, options.model, options.minutes)
    tuned = bench.tune()
    name = f"training-{options.model}"
    outcome = contest(
        name, bench.contestants(tuned), rounds=options.rounds, minutes=options.minutes
    )
    record.write(name, conclude(material, tuned, outcome))
    forget(name)
    print(table(json.loads((record.RESULTS / f"{name}.json").read_text(encoding="utf-8"))))


class Bench:
    def __init__(self, material: Material, model: str, minutes: float | None) -> None:
        self.material, self.model, self.minutes = material, model, minutes

    def contestants(self, tuned: dict[str, dict[str, Any]]) -> list[Contestant]:
        both = []
        for precision in PRECISIONS:
            both += [
                self.ours(precision),
                self.peer("classic", precision, {}),
                self.peer("trl", precision, tuned["trl"]),
                self.peer("peft", precision, tuned["peft"]),
            ]
        return both

    def ours(self, precision: str) -> Contestant:
        told = self._told(precision) | {"micro_batch": BATCH}
        command = (sys.executable, "-m", "benchmarks.training.ours", json.dumps(told))
        return Contestant(f"ours-{precision}", command)

    def peer(self, name: str, precision: str, settings: dict[str, Any]) -> Contestant:
        script = {"classic": "classic.py", "trl": "trl_sft.py", "peft": "peft_plain.py"}[name]
        told = json.dumps(self._told(precision) | {"checkpointing": False} | settings)
        command = (str(python_of("hf")), str(PEERS / script), told)
        return Contestant(f"{name}-{precision}", command, {"TOKENIZERS_PARALLELISM": "false"})

    def tune(self) -> dict[str, dict[str, Any]]:
        """The fastest settings of each peer, in bf16: one turn each beside the others."""
        best = {}
        for name, choices in (("trl", TRL), ("peft", PLAIN)):
            kept = Path(f".tuneyard/bench/{self.model}-{name}-tuned.json")
            if not kept.exists():
                kept.write_text(json.dumps(self._fastest(name, choices)), encoding="utf-8")
            best[name] = json.loads(kept.read_text(encoding="utf-8"))
        return best

    def _fastest(self, name: str, choices: tuple[dict[str, Any], ...]) -> dict[str, Any]:
        speeds = []
        for number, settings in enumerate(choices):
            alone = f"tune-{self.model}-{name}-{number}"
            outcome = contest(alone, [self.peer(name, "bf16", settings)], rounds=1)
            speeds.append(outcome.median(f"{name}-bf16", FIGURE))
            print(f"{name} {settings}: {speeds[-1]:.1f} labels/s", file=sys.stderr, flush=True)
        return choices[speeds.index(max(speeds))]

    def _told(self, precision: str) -> dict[str, Any]:
        material = self.material
        return {
            "model": str(material.model),
            "rows": str(material.rows),
            "adapter": str(material.adapter),
            "precision": "bf16",
            "quantization": PRECISIONS[precision],
            "batch": BATCH,
            "threads": len(os.sched_getaffinity(0)),
        }


def conclude(material: Material, tuned: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
    from transformers import AutoConfig

    sizes = costs.Sizes.of(AutoConfig.from_pretrained(material.model))
    ours = costs.ours(material.prefix, material.own, material.labels, BATCH)
    theirs = {
        "classic": costs.classic(512),
        "trl": costs.whole_rows(material.prefix, material.own),
        "peft": costs.whole_rows(material.prefix, material.own),
    }
    rows = []
    for precision in PRECISIONS:
        for peer, cost in theirs.items():
            rows.append(
                comparison(outcome, f"ours-{precision}", f"{peer}-{precision}", material.labels)
                | {"ideal": cost.operations(sizes) / ours.operations(sizes)}
            )
    rows.append(comparison(outcome, "ours-8bit", "ours-bf16", material.labels) | {"ideal": 1.0})
    return {
        "material": {k: v for k, v in asdict(material).items() if k in ("prefix", "own", "labels")},
        "batch": BATCH,
        "tuned": tuned,
        "comparisons": rows,
        "about": outcome.about,
        "rounds": outcome.rounds,
    }


def comparison(outcome: Outcome, ours: str, theirs: str, labels: float) -> dict[str, Any]:
    """Examples a second of both, and the ratio of what was trained in each round."""
    return {
        "ours": ours,
        "peer": theirs,
        "ours_per_second": outcome.median(ours, FIGURE) / labels,
        "peer_per_second": outcome.median(theirs, FIGURE) / labels,
        "ratio": outcome.ratio(ours, theirs, FIGURE),
    }


def table(figures: dict[str, Any]) -> str:
    lines = ["| ours | peer | examples/s | peer's | ratio | spread | ideal |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in figures["comparisons"]:
        ratio = row["ratio"]
        lines.append(
            f"| {row['ours']} | {row['peer']} | {row['ours_per_second']:.2f} "
            f"| {row['peer_per_second']:.2f} | {ratio['median']:.1f} "
            f"| {ratio['lowest']:.1f} to {ratio['highest']:.1f} | {row['ideal']:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
