"""Is an estimate within 30 % of what then happens? On a real base model, over the REST API.

    python -m benchmarks.estimates [--model NAME] [--rows 200]

One training on the demo's pairs is measured, of one epoch. Then others are told and done: of more
epochs, with the schema in the prompt, on twice the rows. Writes its figures to
benchmarks/results/estimates-NAME.json.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

from benchmarks.record import write
from cli.client import Client
from cli.demo.pairs import build_pairs, write_pairs
from cli.demo.running import platform
from cli.demo.sales_database import build_sales_database

ALLOWED = 0.3
OTHERS: dict[str, dict[str, Any]] = {
    "three epochs": {"dataset": "some", "epochs": 3},
    "the schema in the prompt": {"dataset": "some", "epochs": 1, "prompt": "schema"},
    "twice the rows": {"dataset": "more", "epochs": 1},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rows", type=int, default=200)
    options = parser.parse_args()
    data_dir = Path(".tuneyard/estimates").absolute()
    shutil.rmtree(data_dir, ignore_errors=True)
    data_dir.mkdir(parents=True)
    with platform(data_dir, keep=False) as connection:
        client = Client(connection["base_url"], connection["api_key"])
        upload(client, data_dir, rows=options.rows)
        happened(client, params(options.model, {"dataset": "some", "epochs": 1}))
        figures = {
            name: told_and_done(client, params(options.model, other))
            for name, other in OTHERS.items()
        }
        client.close()
    write(f"estimates-{options.model}", {"rows": options.rows, "trainings": figures})
    for name, one in figures.items():
        print(name, one, flush=True)
    if not all(one["within"] for one in figures.values()):
        raise SystemExit("not all of them are within the bound")


def upload(client: Client, folder: Path, *, rows: int) -> None:
    sales = folder / "sales.sqlite"
    build_sales_database(sales)
    client.upload("/v1/databases", sales, name="sales")
    for name, limit in (("some", rows), ("more", 2 * rows)):
        write_pairs(folder / f"{name}.jsonl", build_pairs(sales, train_limit=limit))
        made = client.upload("/v1/datasets", folder / f"{name}.jsonl", name=name, database="sales")
        client.wait(made["job"])


def params(model: str, other: dict[str, Any]) -> dict[str, Any]:
    return {"model": model, "adapter": "estimates", "early_stopping": False, **other}


def told_and_done(client: Client, training: dict[str, Any]) -> dict[str, Any]:
    told = client.post("/v1/estimates", {"type": "train", "params": training})
    result, seconds = happened(client, training)
    share = told["time"]["seconds"] / seconds
    return {
        "steps": [told["steps"], result["steps"]],
        "tokens": [told["tokens"]["per_epoch"], result["train_tokens"]],
        "seconds": [told["time"]["seconds"], round(seconds, 1)],
        "of_what_happened": round(share, 3),
        "within": abs(share - 1) <= ALLOWED,
    }


def happened(client: Client, training: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """The training's result, and the seconds of its attempt."""
    job = client.wait(client.submit("train", **training)["id"])
    attempts = client.get(f"/v1/jobs/{job['id']}/attempts")["data"]
    return job["result"], sum(one["finished_at"] - one["started_at"] for one in attempts)


if __name__ == "__main__":
    main()
