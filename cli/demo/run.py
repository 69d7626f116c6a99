"""The demo: a general model fails at a company's questions, is tuned on them, and answers.

Everything goes over the REST API, as a team would do it. Knows nothing behind it.
"""

import shutil
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from cli.client import Client
from cli.demo import report
from cli.demo.pairs import Pair, build_pairs, write_pairs
from cli.demo.running import platform
from cli.demo.sales_database import build_sales_database
from cli.platform.datadir import LOCK, own_data_dir
from cli.progress import JobBar

BASE_SAMPLE = 60
BATCH_QUESTIONS = 120
SAMPLES = 5
ADAPTER = "sales-sql"


class Demo:
    """One run of the demo on a running platform; each step leaves its result in `results`."""

    def __init__(self, client: Client, console: Console, *, model: str) -> None:
        self.client = client
        self.console = console
        self.model = model
        self.results: dict[str, Any] = {}

    def upload(self, database: Path, pairs: Path) -> None:
        self.console.print("  the sales database, its schema read …")
        self.client.upload("/v1/databases", database, name="sales")
        dataset = self.client.upload(
            "/v1/datasets", pairs, name="sales-pairs", database="sales", model=self.model
        )
        self._wait("Checking the pairs, executing every SQL", dataset["job"])
        self.results["dataset"] = self.client.get("/v1/datasets/sales-pairs")

    def evaluate(self, name: str, title: str, model: str, **params: Any) -> None:
        job = self.client.submit("evaluate", model=model, dataset="sales-pairs", **params)
        self.results[name] = self._wait(title, job["id"])["result"]
        self.results[f"{name}_job"] = job["id"]

    def train(self, **params: Any) -> str:
        job = self.client.submit(
            "train", model=self.model, dataset="sales-pairs", adapter=ADAPTER, **params
        )
        self.results["train"] = self._wait("Training a LoRA adapter in 8 bit", job["id"])["result"]
        return self.results["train"]["adapter"]

    def merge(self, adapter: str) -> str:
        job = self.client.submit("merge", adapter=adapter)
        self.results["merge"] = self._wait("Merging the adapter into its base", job["id"])["result"]
        return self.results["merge"]["model"]

    def generate(self, adapter: str, pairs: list[Pair]) -> None:
        asked = [pair.question for pair in pairs if pair.split not in ("train", "validation")]
        questions = list(dict.fromkeys(asked))[:BATCH_QUESTIONS]
        job = self.client.submit("generate", model=adapter, database="sales", questions=questions)
        done = self._wait(f"Generating SQL for {len(questions)} questions", job["id"])
        self.results["generate"] = done["result"]
        rows = self.client.pages(f"/v1/jobs/{job['id']}/results")
        self.results["answers"] = [row["data"] for row in rows]

    def sample(self) -> None:
        """A few answers of the batch with the rows that they bring, and what is still wrong."""
        answered = [row for row in self.results["answers"] if row["executes"]]
        chosen = answered[:: max(1, len(answered) // SAMPLES)][:SAMPLES]
        self.results["samples"] = [(row, self._query(row["sql"])) for row in chosen]
        judged = self.client.pages(f"/v1/jobs/{self.results['tuned_job']}/results")
        self.results["wrong"] = [row["data"] for row in judged if not row["data"]["correct"]]

    def _query(self, sql: str) -> list[list[Any]]:
        return self.client.post("/v1/databases/sales/query", {"sql": sql})["rows"]

    def _wait(self, title: str, job_id: str) -> dict[str, Any]:
        with JobBar(self.console, title) as bar:
            return self.client.wait(job_id, bar)


def run_demo(*, data_dir: Path, model: str, keep: bool, train_limit: int | None) -> dict[str, Any]:
    """Run it all; prints the table, writes demo-report.json and returns the report."""
    console = Console()
    began = time.monotonic()
    clear(data_dir)
    console.rule("Tuneyard's demo: a SQL assistant for one company's database")
    pairs = make_data(data_dir, train_limit)
    console.print(f"1. {len(pairs)} question/SQL pairs made; starting the platform …")
    with platform(data_dir, keep=keep) as connection:
        client = Client(connection["base_url"], connection["api_key"])
        demo = Demo(client, console, model=model)
        play(demo, data_dir, pairs)
        figures = report.figures(demo.results, model=model, total_seconds=time.monotonic() - began)
        report.write(Path("demo-report.json"), figures)
        report.show(console, demo.results, figures)
        report.show_places(console, connection, keep=keep)
        client.close()
    return figures


def play(demo: Demo, data_dir: Path, pairs: list[Pair]) -> None:
    """The steps in their order."""
    say = demo.console.print
    say("2. Upload the database and the pairs")
    demo.upload(data_dir / "sales.sqlite", data_dir / "sales-pairs.jsonl")
    say(f"3. What the general model {demo.model} makes of the questions")
    demo.evaluate("base", "Asking the base model", demo.model, limit=BASE_SAMPLE)
    say("4. Fine-tune")
    adapter = demo.train()
    say(f"5. What {adapter} makes of questions that it has not seen")
    demo.evaluate("tuned", "Unseen values, 8 bit", adapter)
    if "unseen_patterns" in demo.results["dataset"]["splits"]:
        demo.evaluate("patterns", "Unseen patterns, 8 bit", adapter, split="unseen_patterns")
    exact = {"quantization": "none", "precision": "fp32"}
    demo.evaluate("adapter_fp32", "Unseen values, adapter in fp32", adapter, **exact)
    say("6. Merge")
    merged = demo.merge(adapter)
    demo.evaluate("merged", f"Unseen values, {merged} in fp32", merged, **exact)
    say("7. A batch")
    demo.generate(adapter, pairs)
    demo.sample()


def clear(data_dir: Path) -> None:
    """An empty folder; one in which a platform runs is left alone (`Refused`)."""
    with own_data_dir(data_dir):
        for path in data_dir.iterdir():
            if path.name != LOCK:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def make_data(data_dir: Path, train_limit: int | None) -> list[Pair]:
    database = data_dir / "sales.sqlite"
    build_sales_database(database)
    pairs = build_pairs(database, train_limit=train_limit)
    write_pairs(data_dir / "sales-pairs.jsonl", pairs)
    return pairs


def check(figures: dict[str, Any], *, gain: float) -> str | None:
    """What a shortened demo must show, or what it did not."""
    gained = figures["tuned_accuracy"] - figures["base_accuracy"]
    if gained < gain:
        return f"the tuned model gained {gained:.2f} over the base, expected at least {gain:.2f}"
    if figures["quantization"] != "8bit":
        return "the adapter was not trained in 8 bit"
    return None
