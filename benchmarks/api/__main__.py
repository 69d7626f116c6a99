"""Goals 14 and 16, on SQLite and on PostgreSQL.

    python -m benchmarks.api [--databases sqlite postgresql] [--rounds 5] [--minutes M]

Ours and a bare FastAPI with the same queries take turns on the same database. Then files and lists
grow. Writes benchmarks/results/api-DATABASE.json.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx

from benchmarks import record
from benchmarks.api import shown
from benchmarks.api.growth import grown
from benchmarks.api.servers import MODEL, Servers, servers
from benchmarks.calling import ours
from benchmarks.comparison import Comparison, conclude
from benchmarks.contest import Contestant, Outcome, contest, forget

DATABASES = ("sqlite", "postgresql")
CLIENTS = 4  # of as many as a machine with two cores can ask without measuring themselves
REQUESTS = {"read": 400, "submit": 200}
AIM = 0.7
SUBMIT = {
    "type": "generate",
    "params": {"model": MODEL["name"], "questions": ["How many customers are there? 有多少客户?"]},
}
TUNING_LINES = [
    {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"{n}"}]}
    for n in range(20)
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--databases", nargs="+", choices=DATABASES, default=DATABASES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float)
    options = parser.parse_args()
    for database in options.databases:
        with (
            tempfile.TemporaryDirectory(prefix="ty-api-") as folder,
            servers(Path(folder), database) as both,
        ):
            played = {
                what: play(database, what, both, options.rounds, options.minutes)
                for what in REQUESTS
            }
            figures = {
                "database": database,
                "clients": CLIENTS,
                "comparisons": [row for _, rows in played.values() for row in rows],
                "about": played["read"][0].about,
                "contests": {what: asdict(outcome) for what, (outcome, _) in played.items()},
                "growth": grown(both, Path(folder)),
            }
        record.write(f"api-{database}", figures)
        print(shown.section(figures))


def play(
    database: str, what: str, both: Servers, rounds: int, minutes: float | None
) -> tuple[Outcome, list[dict[str, Any]]]:
    """One contest. Its servers are new each time, so it begins from its start each time."""
    name = f"api-{database}-{what}"
    forget(name)
    request = ended_job(both) if what == "read" else ("POST", "/v1/jobs", SUBMIT)
    players = [
        contestant(side, port, both.key, request, REQUESTS[what])
        for side, port in (("ours", both.ours), ("bare", both.bare))
    ]
    outcome = contest(name, players, rounds=rounds, minutes=minutes)
    forget(name)
    return outcome, conclude(outcome, comparisons(what))


def contestant(
    name: str, port: int, key: str, request: tuple[str, str, Any], requests: int
) -> Contestant:
    method, path, body = request
    told = {"port": port, "key": key, "method": method, "path": path, "body": body}
    told |= {"clients": CLIENTS, "requests": requests}
    return ours(name, "api.asking", told)


def comparisons(what: str) -> Iterator[Comparison]:
    unit = "GETs of a fine-tuning job/s" if what == "read" else "submits/s"
    yield Comparison(14, "ours", "bare", "requests_per_second", unit, aim=AIM)


def ended_job(both: Servers) -> tuple[str, str, None]:
    """A fine-tuning job as a poller sees it: one that waits for nothing any more."""
    headers = {"authorization": f"Bearer {both.key}"}
    lines = "".join(json.dumps(line) + "\n" for line in TUNING_LINES).encode()
    url = f"http://127.0.0.1:{both.ours}/v1"
    with httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
        form = {"purpose": "fine-tune"}
        file = client.post("/files", data=form, files={"file": ("train.jsonl", lines)})
        body = {"model": MODEL["name"], "training_file": file.raise_for_status().json()["id"]}
        job = client.post("/fine_tuning/jobs", json=body).raise_for_status().json()
        client.post(f"/fine_tuning/jobs/{job['id']}/cancel").raise_for_status()
    return "GET", f"/v1/fine_tuning/jobs/{job['id']}", None


if __name__ == "__main__":
    main()
