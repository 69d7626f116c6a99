"""Goal 10: execution accuracy on GeoQuery, cell by cell, with paired intervals.

    python -m benchmarks.accuracy FOLDER [--model NAME] [--seeds 3] [--splits test,strict]
                                         [--epochs E] [--minutes M]

Ours on an 8-bit base and on one that is not quantised, TRL at equal epochs, and the base asked with
no and with three examples; `strict` is the split in which no query's template occurs in training. A
finished cell is kept and told at once, so the same command goes on; `--minutes`: no cell begins
later; `--epochs`: not as many as the product chooses. Writes benchmarks/results/accuracy-NAME.json,
or accuracy-NAME-E-epochs.json.
"""

import argparse
import json
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
    began = time.monotonic()
    home = (FOLDER / f"{options.model}-{options.epochs or 'auto'}").absolute()
    seeds = options.seeds or SEEDS.get(options.model, 3)
    wanted = list(cells(options.splits.split(","), seeds))
    name = f"accuracy-{options.model}" + (f"-{options.epochs:g}-epochs" if options.epochs else "")

    def told() -> dict[str, Any]:
        return conclude(wanted, home, options.model, epochs=options.epochs)

    for cell in wanted:
        if (home / cell.name / "rows.json").exists():
            continue
        if options.minutes is not None and time.monotonic() - began > 60 * options.minutes:
            raise SystemExit("time is up; the same command goes on from here")
        print(cell.name, file=sys.stderr, flush=True)
        work(cell, home / cell.name, options)
        record.write(name, told())
    record.write(name, figures := told())
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


if __name__ == "__main__":
    main()
