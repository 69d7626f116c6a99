"""Requests made up from the OpenAPI document: none may bring a 500, or an answer that the document
does not know.

python -m tests.fuzz --requests 10000 [--seed 1]     on SQLite and on PostgreSQL; prints a summary

The API runs in this process over a migrated database that owns one of everything, with no worker
and no broker behind it. Some runs are given the ids of what is there, the others make up theirs.
"""

import argparse
import logging
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import schemathesis
from fastapi import FastAPI
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from api.app import create_app
from core.accounts.service import create_key, ensure_project
from core.basemodels.service import record_base
from core.db import get_database
from tests.api.belongings import own_one_of_each
from tests.api.conftest import TINY
from tests.platform import environment, migrate
from tests.servers import new_postgres_database, postgres_server

OFF = {"enabled": False}
CHECKS: dict[str, Any] = {
    # Without a worker to serve it, a question is answered by 503, as the document says.
    "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "503"]},
    # A schema can't say which ids and names there are: much that fits it is refused all the same.
    "positive_data_acceptance": OFF,
    # Whether another key may see a thing is walked by tests/api/test_tenants.py.
    "object_level_authorization": OFF,
}
GIVEN_IDS: dict[str, Any] = {
    # What was just made is not asked for by its own id then, but by that of another, maybe gone.
    "ensure_resource_availability": OFF,
    "use_after_free": OFF,
}
OUTWARD = "/v1/webhook_endpoints/{webhook_endpoint_id}/test"
"""Left out, since it sends to wherever an endpoint is."""


RUN_SECONDS = 300
"""A run ends after this long, and the next one has another seed."""


@dataclass
class Summary:
    """What came of the requests of some runs."""

    seconds: float = 0
    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    operations: set[str] = field(default_factory=set)
    failures: dict[str, str] = field(default_factory=dict)
    """By operation and kind: what was wrong with the first, and how to do it again."""

    def __str__(self) -> str:
        codes = ", ".join(f"{code}: {count}" for code, count in sorted(self.statuses.items()))
        lines = [
            f"{self.requests} requests to {len(self.operations)} operations in "
            f"{self.seconds:.0f} s, {len(self.failures)} failures",
            f"answers by status: {codes}",
        ]
        return "\n".join([*lines, *(f"\n{name}\n{what}" for name, what in self.failures.items())])


def fuzz(
    app: FastAPI,
    key: str,
    summary: Summary,
    *,
    seed: int,
    seconds: int,
    examples: int,
    ids: dict[str, str] | None = None,
    edges: bool = True,
) -> None:
    """One run over all operations; adds to the summary. `edges`: also each field's edge cases, some
    thirty requests an operation."""
    schema = schemathesis.openapi.from_asgi(
        "/openapi.json", app, config=_config(key, seed, seconds, examples, ids or {}, edges)
    ).exclude(path=OUTWARD)
    begun = time.monotonic()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            _note(event.recorder, summary)
        elif isinstance(event, events.NonFatalError):
            summary.failures.setdefault(event.label, str(event.value))
    summary.seconds += time.monotonic() - begun


def _config(
    key: str, seed: int, seconds: int, examples: int, ids: dict[str, str], edges: bool
) -> SchemathesisConfig:
    return SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "max-time": seconds,
            "headers": {"Authorization": f"Bearer {key}"},
            "checks": CHECKS | (GIVEN_IDS if ids else {}),
            "continue-on-failure": True,
            "phases": {"coverage": {"enabled": edges}},
            "generation": {"max-examples": examples, "no-shrink": True, "database": "none"},
            "parameters": {f"path.{name}": value for name, value in ids.items()},
        }
    )


def _note(recorder: Any, summary: Summary) -> None:
    for case_id, interaction in recorder.interactions.items():
        summary.requests += 1
        if interaction.response is not None:
            summary.statuses[interaction.response.status_code] += 1
        case = recorder.cases[case_id].value
        summary.operations.add(case.operation.label)
        for check in recorder.checks.get(case_id, ()):
            if check.failure_info is not None and not _only_text(check):
                name = f"{case.operation.label}: {check.name}"
                info = check.failure_info
                what = f"{info.failure.title}: {info.failure.message}\n{info.code_sample}"
                summary.failures.setdefault(name, what)


def _only_text(check: Any) -> bool:
    """A form's field and a query's value are text, whatever type the fuzzer took them for."""
    message = check.failure_info.failure.message
    of_form = "multipart/form-data" in check.failure_info.code_sample
    return check.name == "negative_data_rejection" and (of_form or " in query" in message)


@contextmanager
def api_on(url: str, folder: Path) -> Iterator[tuple[FastAPI, str, dict[str, str]]]:
    """The API over a fresh database, a key that may do everything, and the ids of what is there."""
    with environment(data_dir=str(folder), database_url=url, broker_url="redis://127.0.0.1:1/0"):
        migrate(url)
        with get_database().transaction() as session:
            record_base(session, TINY)
            project = ensure_project(session, "default")
            ids = own_one_of_each(session, project)
            key = create_key(session, project, name="fuzz")[1]
        yield create_app(), key, ids


def main(requests: int, seed: int) -> int:
    logging.basicConfig(level=logging.ERROR)  # a line for each request would bury the summary
    failed = 0
    with postgres_server() as server, tempfile.TemporaryDirectory() as folder:
        for name in ("sqlite", "postgresql"):
            place = Path(folder, name)
            place.mkdir()
            own = f"sqlite:///{place / 'tuneyard.db'}"
            url = own if name == "sqlite" else new_postgres_database(server)
            summary = Summary()
            with api_on(url, place) as (app, key, ids):
                runs = 0
                while runs < 2 or summary.requests < requests / 2:
                    known = None if runs % 2 else ids
                    fuzz(
                        app,
                        key,
                        summary,
                        seed=seed + runs,
                        seconds=RUN_SECONDS,
                        examples=20,
                        ids=known,
                    )
                    runs += 1
            print(f"{name}, seeds {seed} to {seed + runs - 1}: {summary}", flush=True)
            failed += len(summary.failures)
            shutil.rmtree(place)
    return 1 if failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    sys.exit(main(given.requests, given.seed))
