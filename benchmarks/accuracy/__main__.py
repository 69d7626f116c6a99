"""Goal 10: execution accuracy on GeoQuery, cell by cell, with paired intervals.

    python -m benchmarks.accuracy FOLDER [--model NAME] [--seeds 3] [--splits test,strict]
                                         [--epochs E] [--minutes M]

Ours on an 8-bit base and on one that is not quantised, TRL at equal epochs, and the base asked with
no and with three examples; `strict` is the split in which no query's template occurs in training. A
finished cell is kept, so the same command goes on; `--minutes`: no cell begins later. Writes
benchmarks/results/accuracy-NAME.json.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.accuracy.bootstrap import difference
from benchmarks.accuracy.cells import SPLITS, Cell, cells
from benchmarks.accuracy.table import table
from benchmarks.training.material import STORE
from cli.platform.leash import dies_with
from core.evaluations.summary import share

FOLDER = Path(".tuneyard/bench/accuracy")
AIMS = {"smollm2-135m": 0.75, "qwen2.5-coder-0.5b": 0.85}
SEEDS = {"qwen2.5-coder-0.5b": 1}  # else 3
PAIRS = (
    ("ours-8bit", "ours-full"),
    ("ours-8bit", "trl-full"),
    ("ours-full", "trl-full"),
    ("ours-8bit", "base-zero-shot"),
    ("ours-8bit", "base-three-shot"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--splits", default=",".join(SPLITS))
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--minutes", type=float)
    options = parser.parse_args()
    began = time.monotonic()
    home = (FOLDER / f"{options.model}-{options.epochs or 'auto'}").absolute()
    seeds = options.seeds or SEEDS.get(options.model, 3)
    wanted = list(cells(options.splits.split(","), seeds))
    for cell in wanted:
        if (home / cell.name / "rows.json").exists():
            continue
        if options.minutes is not None and time.monotonic() - began > 60 * options.minutes:
            raise SystemExit("time is up; the same command goes on from here")
        print(cell.name, file=sys.stderr, flush=True)
        work(cell, home / cell.name, options)
    figures = conclude(wanted, home, options.model)
    record.write(f"accuracy-{options.model}", figures)
    print(table(figures))


def work(cell: Cell, folder: Path, options: argparse.Namespace) -> None:
    """In a process of its own: what it took of memory is gone afterwards."""
    told = asdict(cell) | {
        "folder": str(folder),
        "data": str(options.folder.absolute()),
        "model": str(STORE / options.model),
        "quantization": cell.quantization,
        "epochs": options.epochs,
    }
    command = [sys.executable, "-m", "benchmarks.accuracy.cell", json.dumps(told)]
    subprocess.run(command, check=True, preexec_fn=dies_with(os.getpid()))
    shutil.rmtree(folder / "train/checkpoints", ignore_errors=True)


def conclude(wanted: Sequence[Cell], home: Path, model: str) -> dict[str, Any]:
    """Accuracies by split and method, over all seeds; differences question by question."""
    right: dict[tuple[str, str], list[list[bool]]] = {}
    invalid: dict[tuple[str, str], list[float]] = {}
    for cell in wanted:
        kept = json.loads((home / cell.name / "rows.json").read_text(encoding="utf-8"))
        key = (cell.split, cell.method)
        right.setdefault(key, []).append([row["correct"] for row in kept["rows"]])
        invalid.setdefault(key, []).append(kept["figures"]["invalid_sql"])
    return {
        "model": model,
        "goal": 10,
        "aim": AIMS.get(model),
        "accuracies": [_accuracy(key, runs, invalid[key]) for key, runs in right.items()],
        "differences": [
            {"split": split, "ours": ours, "peer": peer}
            | difference(_means(right[split, ours]), _means(right[split, peer]))
            for split in dict.fromkeys(cell.split for cell in wanted)
            for ours, peer in PAIRS
        ],
    }


def _accuracy(key: tuple[str, str], runs: list[list[bool]], invalid: list[float]) -> dict[str, Any]:
    return {
        "split": key[0],
        "method": key[1],
        "seeds": [share(run)["value"] for run in runs],
        "questions": len(runs[0]),
        "invalid_sql": sum(invalid) / len(invalid),
        **share(flag for run in runs for flag in run),
    }


def _means(runs: list[list[bool]]) -> list[float]:
    """For each question the share of the seeds that answered it rightly."""
    return [sum(flags) / len(runs) for flags in zip(*runs, strict=True)]


if __name__ == "__main__":
    main()
