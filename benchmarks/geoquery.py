"""Execution accuracy on GeoQuery over the REST API: one database, one fine-tune with defaults.

    python -m benchmarks.geoquery FOLDER [--model NAME] [--params '{"epochs": 5}']

FOLDER holds `db.sqlite` and `examples.jsonl` (question, sql, split). The accuracy on test is shown
for SQL whose text also stands in training and for SQL that does not, apart. Writes its figures to
benchmarks/results/geoquery-NAME.json.
"""

import argparse
import json
import platform as machine
import shutil
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from cli.client import Client
from cli.demo.running import platform
from cli.progress import JobBar
from core.evaluations.summary import share

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--params", type=json.loads, default={})
    options = parser.parse_args()
    data_dir = Path(".tuneyard/geoquery").absolute()
    shutil.rmtree(data_dir, ignore_errors=True)
    data_dir.mkdir(parents=True)
    with platform(data_dir, keep=False) as connection:
        client = Client(connection["base_url"], connection["api_key"])
        figures = run(client, options.folder, options.model, options.params)
        client.close()
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(figures, ensure_ascii=False, indent=2)
    (RESULTS / f"geoquery-{options.model}.json").write_text(text + "\n", encoding="utf-8")
    print(text)


def run(client: Client, folder: Path, model: str, params: dict[str, Any]) -> dict[str, Any]:
    console = Console(stderr=True)

    def wait(title: str, job_id: str) -> dict[str, Any]:
        with JobBar(console, title) as bar:
            return client.wait(job_id, bar)

    began = time.monotonic()
    client.upload("/v1/databases", folder / "db.sqlite", name="geoquery")
    dataset = client.upload(
        "/v1/datasets", folder / "examples.jsonl", name="geoquery", database="geoquery", model=model
    )
    wait("Preparing", dataset["job"])
    job = client.submit("train", model=model, dataset="geoquery", **params)
    trained = wait("Training", job["id"])["result"]
    job = client.submit("evaluate", model=trained["adapter"], dataset="geoquery")
    tested = wait("Evaluating on test", job["id"])["result"]
    rows = [row["data"] for row in client.pages(f"/v1/jobs/{job['id']}/results")]
    seen = known_sql(folder / "examples.jsonl")
    return {
        "model": model,
        "quantization": trained["resolved"]["quantization"],
        "quantized_layers": trained["quantized_layers"],
        "splits": client.get("/v1/datasets/geoquery")["splits"],
        "test": tested["execution_accuracy"],
        "seen_sql": share(row["correct"] for row in rows if folded(row["gold"]) in seen),
        "unseen_sql": share(row["correct"] for row in rows if folded(row["gold"]) not in seen),
        "invalid_sql": tested["invalid_sql"],
        "requests_per_second": tested["requests_per_second"],
        "train_seconds": trained["train_seconds"],
        "examples_per_second": trained["examples_per_second"],
        "epochs": trained["epochs"],
        "resolved": trained["resolved"],
        "total_seconds": round(time.monotonic() - began, 1),
        "machine": f"{machine.machine()}, {machine.system()}, Python {machine.python_version()}",
    }


def known_sql(path: Path) -> set[str]:
    """The SQL of the training split, white space and case folded."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return {folded(row["sql"]) for row in rows if row["split"] == "train"}


def folded(sql: str) -> str:
    return " ".join(sql.split()).lower()


if __name__ == "__main__":
    main()
