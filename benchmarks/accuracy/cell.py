"""One cell: train where something is to be trained, ask the test questions, judge the answers.

    python -m benchmarks.accuracy.cell JSON

Told: folder (of the cell), data (GeoQuery's), model, split, method, seed, quantization, epochs.
Trains and evaluates with the recipes of a job; a peer's adapter is asked as ours is. A training
that was stopped goes on from its last checkpoint. Leaves `rows.json`.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.accuracy.cells import OURS, PEERS
from benchmarks.accuracy.material import beginning, make_dataset, three_shot_schema
from benchmarks.calling import peer
from cli.platform.leash import dies_with
from workers.context import LocalContext

MAX_NEW_TOKENS = 160


def main() -> None:
    told = json.loads(sys.argv[1])
    folder = Path(told["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    inputs = {
        "model": Path(told["model"]),
        "dataset": make_dataset(Path(told["data"]), folder / "dataset", told["split"]),
        "database": Path(told["data"]) / "db.sqlite",
    }
    if told["method"] in OURS:
        inputs["adapter"] = train(told, inputs, folder)
    elif told["method"] in PEERS:
        inputs["adapter"] = train_peer(told, inputs, folder)
    evaluate(told, inputs, folder)


def settings(told: dict[str, Any]) -> dict[str, Any]:
    """The product's defaults; the adapter of the last step, as TRL has it."""
    given = {"quantization": told["quantization"], "seed": told["seed"], "early_stopping": False}
    return given | ({"epochs": told["epochs"]} if told["epochs"] else {})


def train(told: dict[str, Any], inputs: dict[str, Path], folder: Path) -> Path:
    from workers.recipes import train as recipe

    adapter = folder / "train/out/adapter"
    if not (folder / "trained.json").exists():
        steps = sorted((folder / "train/checkpoints").glob("step-*"))
        ctx = LocalContext(
            settings(told), inputs, folder / "train", resume=steps[-1] if steps else None
        )
        write(folder / "trained.json", recipe.run(ctx))
    return adapter


def train_peer(told: dict[str, Any], inputs: dict[str, Path], folder: Path) -> Path:
    """From the very adapter that ours begins with, on the same tokens, at the same rate."""
    adapter = folder / "adapter"
    if not (folder / "trained.json").exists():
        given = beginning(settings(told), inputs, folder / "beginning")
        checkpoints = folder / "train/checkpoints"
        checkpoints.mkdir(parents=True, exist_ok=True)
        name = told["method"].split("-")[0]
        more = {"peer": name, "out": str(adapter), "checkpoints": str(checkpoints)}
        more["threads"] = len(os.sched_getaffinity(0))
        training = peer(name, "hf", "to_the_end.py", given | more, tuned=name != "classic")
        subprocess.run(
            training.command,
            check=True,
            env=os.environ | training.environment,
            preexec_fn=dies_with(os.getpid()),
        )
        shutil.copy(folder / "beginning/prompt.json", adapter)
        write(folder / "trained.json", given)
    return adapter


def evaluate(told: dict[str, Any], inputs: dict[str, Path], folder: Path) -> None:
    from workers.recipes import evaluate as recipe

    params = {
        "split": "test",
        "quantization": told["quantization"],
        "precision": "auto",
        "max_new_tokens": MAX_NEW_TOKENS,
    }
    if told["method"] == "base-three-shot":
        params["schema_text"] = three_shot_schema(inputs["dataset"])
    ctx = LocalContext(params, inputs, folder / "evaluate")
    figures = recipe.run(ctx)
    rows = [ctx.rows[index] for index in sorted(ctx.rows)]
    measured = {"figures": figures, "rows": rows, "commit": record.commit()}
    write(folder / "rows.json", measured)


def write(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_suffix(".new")
    partial.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    main()
