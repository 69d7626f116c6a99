"""Which prompt should be the default for one database: with the schema in it, or without?

    python -m benchmarks.prompts [--geoquery FOLDER] [--epochs 3] [--only schema]

The same training with each style on the demo's pairs (both held-out splits) and, if its folder is
given, on GeoQuery (test). Writes benchmarks/results/prompts.json after each training, and leaves
out what stands there already, so that a stopped run goes on.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from cli.client import Client
from cli.demo.pairs import build_pairs, write_pairs
from cli.demo.running import platform
from cli.demo.sales_database import build_sales_database

RESULTS = Path(__file__).parent / "results" / "prompts.json"
STYLES = ("bare", "schema")
MODEL = "smollm2-135m"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--geoquery", type=Path)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--only", choices=STYLES)
    options = parser.parse_args()
    data_dir = Path(".tuneyard/prompts").absolute()
    shutil.rmtree(data_dir, ignore_errors=True)
    data_dir.mkdir(parents=True)
    RESULTS.parent.mkdir(exist_ok=True)
    with platform(data_dir, keep=False) as connection:
        client = Client(connection["base_url"], connection["api_key"])
        splits = upload(client, data_dir, options.geoquery)
        for name, held_out in splits.items():
            for style in [options.only] if options.only else STYLES:
                compare(client, name, held_out, style, options.epochs)
        client.close()


def upload(client: Client, folder: Path, geoquery: Path | None) -> dict[str, list[str]]:
    """The datasets by name, each with the splits that are evaluated."""
    build_sales_database(folder / "sales.sqlite")
    write_pairs(folder / "sales.jsonl", build_pairs(folder / "sales.sqlite"))
    add(client, "sales", folder / "sales.sqlite", folder / "sales.jsonl")
    splits = {"sales": ["test", "unseen_patterns"]}
    if geoquery is not None:
        add(client, "geoquery", geoquery / "db.sqlite", geoquery / "examples.jsonl")
        splits["geoquery"] = ["test"]
    return splits


def add(client: Client, name: str, database: Path, examples: Path) -> None:
    client.upload("/v1/databases", database, name=name)
    made = client.upload("/v1/datasets", examples, name=name, database=name, model=MODEL)
    client.wait(made["job"])


def compare(client: Client, dataset: str, splits: list[str], style: str, epochs: float) -> None:
    figures = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    key = f"{dataset}, {style}, {epochs:g} epochs"
    if key in figures:
        return
    job = client.submit(
        "train",
        model=MODEL,
        dataset=dataset,
        adapter=f"{dataset}-{style}",
        prompt=style,
        epochs=epochs,
        early_stopping=False,
    )
    trained = client.wait(job["id"])["result"]
    figures[key] = measure(client, dataset, splits, trained)
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(key, json.dumps(figures[key]), flush=True)


def measure(client: Client, dataset: str, splits: list[str], trained: dict[str, Any]) -> dict:
    found: dict[str, Any] = {
        "train_seconds": trained["train_seconds"],
        "examples_per_second": trained["examples_per_second"],
        "validation_loss": trained["validation_loss"],
        "peak_memory_bytes": trained["peak_memory_bytes"],
    }
    for split in splits:
        job = client.submit("evaluate", model=trained["adapter"], dataset=dataset, split=split)
        result = client.wait(job["id"])["result"]
        found[split] = {
            "execution_accuracy": result["execution_accuracy"],
            "invalid_sql": result["invalid_sql"],
            "requests_per_second": result["requests_per_second"],
        }
    return found


if __name__ == "__main__":
    main()
