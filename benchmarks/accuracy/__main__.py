"""Goal 10: execution accuracy on GeoQuery, cell by cell, with paired intervals.

    python -m benchmarks.accuracy FOLDER [--model NAME] [--seeds 3] [--splits test,strict]
                                         [--epochs E] [--minutes M]

Ours on an 8-bit base and on one that is not quantised; TRL, the script of tutorials and plain PEFT
at equal epochs; the base asked with no and with three examples. `strict` is the split in which no
query's template occurs in training. A finished cell is kept (.tuneyard/bench/accuracy) and told at
once, so the same command goes on; `--minutes`: no cell begins later; `--epochs`: not as many as the
product chooses. Writes for each split benchmarks/results/accuracy-NAME-SPLIT.json, or
accuracy-NAME-SPLIT-E-epochs.json.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.accuracy.cells import SPLITS, Cell, cells
from benchmarks.accuracy.conclusion import conclude
from benchmarks.accuracy.table import table
from benchmarks.training.material import STORE
from cli.platform.leash import dies_with

FOLDER = Path(".tuneyard/bench/accuracy")
SEEDS = {"qwen2.5-coder-0.5b": 1}  # else 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--splits", default=",".join(SPLITS))
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--minutes", type=float)
    options = parser.parse_args()
    minutes = math.inf if options.minutes is None else options.minutes
    until = time.monotonic() + 60 * minutes
    missing = []
    for split in options.splits.split(","):
        figures, left = measure(split, options, until)
        print(table(figures))
        missing += left
    if missing:
        raise SystemExit(f"time is up before {', '.join(missing)}; the same command goes on")


def measure(
    split: str, options: argparse.Namespace, until: float
) -> tuple[dict[str, Any], list[str]]:
    """What there is of a split when its cells are done, or time is up, and the names of those that
    are not; told after each cell."""
    home = (FOLDER / f"{options.model}-{options.epochs or 'auto'}").absolute()
    wanted = [*cells(split, options.seeds or SEEDS.get(options.model, 3))]
    length = f"-{options.epochs:g}-epochs" if options.epochs else ""

    def tell() -> dict[str, Any]:
        figures = conclude(split, wanted, home, options.model, epochs=options.epochs)
        record.write(f"accuracy-{options.model}-{split}{length}", figures)
        return figures

    for cell in wanted:
        if (home / cell.name / "rows.json").exists():
            continue
        if time.monotonic() > until:
            break
        print(cell.name, file=sys.stderr, flush=True)
        work(cell, home / cell.name, options)
        tell()
    return tell(), [one.name for one in wanted if not (home / one.name / "rows.json").exists()]


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


if __name__ == "__main__":
    main()
