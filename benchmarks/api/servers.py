"""A migrated database with a project in it, our API and the bare one on it, each a process."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.api.bare import PROJECT
from core.accounts.service import create_key, ensure_project
from core.basemodels.service import record_base
from core.db import get_database
from tests.platform import ROOT, environment, migrate
from tests.servers import free_port, new_postgres_database, postgres_server, valkey_server

OURS, BARE = "api.app:create_app", "benchmarks.api.bare:app"
START_SECONDS = 60
MODEL = {
    "name": "tiny",
    "parameters": 1_000_000,
    "architecture": "LlamaForCausalLM",
    "context_length": 2048,
    "licence": "none",
}
"""A model that workers have told of; no worker is there to run it."""


@dataclass(frozen=True)
class Servers:
    """Ports of both, the key for ours, and our process."""

    ours: int
    bare: int
    key: str
    pid: int


@contextmanager
def servers(folder: Path, database: str) -> Iterator[Servers]:
    with ExitStack() as stack:
        url = f"sqlite:///{folder / 'tuneyard.db'}"
        if database == "postgresql":
            url = new_postgres_database(stack.enter_context(postgres_server()))
        broker = stack.enter_context(valkey_server())
        stack.enter_context(environment(data_dir=str(folder), database_url=url, broker_url=broker))
        migrate(url)
        key = _project()
        ours, bare = free_port(), free_port()
        process = stack.enter_context(_serving(folder, OURS, ours, "--factory"))
        stack.enter_context(_serving(folder, BARE, bare))
        _wait(ours, "/health/live")
        _wait(bare, "/openapi.json")
        yield Servers(ours, bare, key, process.pid)


def _project() -> str:
    with get_database().transaction() as session:
        record_base(session, MODEL)
        project = ensure_project(session, PROJECT)
        return create_key(session, project, name="bench", scopes=("write", "read"))[1]


@contextmanager
def _serving(folder: Path, app: str, port: int, *more: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "uvicorn", app, *more]
    command += ["--host", "127.0.0.1", "--port", str(port), "--no-access-log"]
    with (folder / f"{port}.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ.copy(), stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait(port: int, path: str) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            answer = httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False)
            if answer.status_code == 200:
                return
        except httpx.TransportError:
            pass
        if time.monotonic() > until:
            raise SystemExit(f"nothing answers on port {port}")
        time.sleep(0.1)
