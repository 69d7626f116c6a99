"""Chat over HTTP: what 1, 8 and 32 clients see, what HTTP costs a first token, and /v1/sql.

    python -m benchmarks.serve FOLDER [--model NAME] [--rounds 5] [--minutes M]

FOLDER is GeoQuery's. A platform of its own serves an adapter that is trained there once; all is
warm before it counts, and no question comes twice: a server drafts from its own answers. First
tokens are compared with the engine in process, in turns. Writes benchmarks/results/serve-NAME.json.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.calling import ours
from benchmarks.comparison import Comparison, conclude
from benchmarks.contest import Outcome, contest, forget
from benchmarks.serve import shown
from benchmarks.serve.load import percentiles, under
from benchmarks.serve.material import NAME, begin, download, finish, prepare, questions
from benchmarks.training.material import STORE
from cli.client import Client
from cli.demo.running import platform

REQUESTS = {1: 60, 8: 160, 32: 320}
"""How many at each number of clients: enough for their percentiles, about a minute each."""
SQL_REQUESTS = 40
SQL_SECONDS = 1.0  # the aim
FIRST_TOKEN = 1.2  # of the engine's in process, the aim
QUESTIONS = 8  # a turn
QUANTIZATION = "8bit"  # a server's own, unless it is told otherwise
HOME = Path(".tuneyard/bench")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float)
    options = parser.parse_args()
    data_dir = (HOME / f"serve-{options.model}").absolute()
    begin(data_dir)
    before = conditions()
    with platform(data_dir, keep=False) as connection:
        client = Client(connection["base_url"], connection["api_key"])
        version = prepare(client, options.folder, options.model)
        finish(data_dir)
        adapter = download(connection, version, data_dir / "downloaded")
        link, asked = data_dir / "connection.json", iter(questions(options.folder))
        bench = Bench(options.model, version["address"], link, adapter, asked)
        bench.warm_up()
        outcome = bench.first_tokens(options.rounds, options.minutes)
        figures = {
            "model": options.model,
            "conditions": before,
            "levels": [bench.level(clients) for clients in REQUESTS],
            "sql": bench.sql(client),
            "comparisons": conclude(outcome, comparisons()),
            **asdict(outcome),
        }
        client.close()
    record.write(bench.name, figures)
    forget(bench.name)
    print(shown.section(figures))


@dataclass
class Bench:
    """A platform that answers by the name `address`, with an adapter that lies here too.
    `questions`: those that it has not been asked."""

    model: str
    address: str
    connection: Path
    adapter: Path
    questions: Iterator[str]

    @property
    def name(self) -> str:
        return f"serve-{self.model}"

    def warm_up(self) -> None:
        """Have the server started and the adapter loaded."""
        warm = self.ask(clients=1, requests=QUESTIONS)
        if warm["failed"]:
            raise SystemExit(f"no answers: {warm['errors']}")

    def first_tokens(self, rounds: int, minutes: float | None) -> Outcome:
        asked = {"questions": self.fresh(rounds * QUESTIONS), "batch": QUESTIONS}
        over_http = asked | {"connection": str(self.connection), "address": self.address}
        in_process = asked | {
            "model": str(STORE / self.model),
            "adapter": str(self.adapter),
            "quantization": QUANTIZATION,
            "threads": len(os.sched_getaffinity(0)),
        }
        players = [
            ours("http", "serve.http", over_http),
            ours("engine", "serve.engine", in_process),
        ]
        return contest(self.name, players, rounds=rounds, minutes=minutes)

    def level(self, clients: int) -> dict[str, Any]:
        requests = REQUESTS[clients]
        tell(f"{clients} clients, {requests} requests")
        return self.ask(clients=clients, requests=requests)

    def sql(self, client: Client) -> dict[str, Any]:
        """One question after the other through `/v1/sql`, each with rows."""
        tell(f"/v1/sql, {SQL_REQUESTS} questions")
        seconds, executes = [], 0
        for question in self.fresh(SQL_REQUESTS):
            body = {"model": self.address, "database": NAME, "question": question, "rows": 10}
            begun = time.perf_counter()
            executes += client.post("/v1/sql", body)["executes"]
            seconds.append(time.perf_counter() - begun)
        return {
            "requests": len(seconds),
            "executes": executes,
            "seconds": percentiles(seconds),
            "aim": SQL_SECONDS,
        }

    def ask(self, *, clients: int, requests: int) -> dict[str, Any]:
        return under(self.connection, self.address, self.fresh(requests), clients=clients)

    def fresh(self, count: int) -> list[str]:
        asked = [*islice(self.questions, count)]
        if len(asked) < count:
            raise SystemExit("there are too few questions; each is to be asked once")
        return asked


def comparisons() -> Iterator[Comparison]:
    first = {"figure": "first_token_seconds", "unit": "ms to the first token", "scale": 1000}
    yield Comparison(9, "http", "engine", aim=FIRST_TOKEN, lower=True, **first)
    yield Comparison(9, "http", "engine", "seconds_a_request", "s to the last token", lower=True)


def conditions() -> dict[str, Any]:
    """What the machine did before: others may use it too."""
    return {"load_average": os.getloadavg()[1], "cores": len(os.sched_getaffinity(0))}


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
