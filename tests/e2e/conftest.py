"""`tuneyard up` on an empty folder with a tiny random model: the real platform, short leases."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from cli.client import Client
from cli.platform.leash import dies_with
from tests.e2e.shop import build_shop, pairs, write_jsonl

METRICS_TOKEN = "canary-of-the-metrics-endpoint"
SHORT = {
    "TUNEYARD_LEASE_SECONDS": "8",
    "TUNEYARD_HEARTBEAT_SECONDS": "1",
    "TUNEYARD_FENCE_GRACE_SECONDS": "2",
    "TUNEYARD_SWEEP_SECONDS": "1",
    "TUNEYARD_RING_AGAIN_SECONDS": "4",
    "TUNEYARD_STOP_GRACE_SECONDS": "20",
    "TUNEYARD_THREADS": "1",
    "TUNEYARD_WEBHOOK_SECONDS": "1",
    "TUNEYARD_WEBHOOK_ALLOW_PRIVATE": "true",  # the endpoints of tests are on loopback
    "TUNEYARD_LOG_FORMAT": "json",
    "TUNEYARD_METRICS_TOKEN": METRICS_TOKEN,
}


@dataclass
class Platform:
    """A running platform and how to reach it."""

    process: subprocess.Popen
    data_dir: Path
    client: Client
    connection: dict[str, Any]

    @property
    def pids(self) -> dict[str, int]:
        return json.loads((self.data_dir / "connection.json").read_text())["pids"]

    def runner_of(self, worker: str) -> psutil.Process:
        """The runner that works for a worker: it has printed to its job's log."""
        children = psutil.Process(self.pids[worker]).children(recursive=True)
        for child in children:
            if "workers.runner" in " ".join(child.cmdline()) and _works(child):
                return child
        raise LookupError(f"no runner works for {worker}")


def _works(process: psutil.Process) -> bool:
    target = os.readlink(f"/proc/{process.pid}/fd/1")
    return target.endswith("runner.log")


@contextmanager
def running(data_dir: Path, model_dir: Path, **settings: str) -> Iterator[Platform]:
    """Start `tuneyard up` and wait until it says so; SIGTERM at the end."""
    data_dir.mkdir(parents=True, exist_ok=True)
    env = {name: text for name, text in os.environ.items() if not name.startswith("TUNEYARD_")}
    env |= SHORT | {"TUNEYARD_MODEL_DIR": str(model_dir), "PYTHONUNBUFFERED": "1"} | settings
    command = [sys.executable, "-m", "cli.main", "up", "--data-dir", str(data_dir), "--port", "0"]
    log = data_dir / "up.log"
    with log.open("ab") as output:
        begin = output.tell()
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
            preexec_fn=dies_with(os.getpid(), by=signal.SIGTERM),  # a killed test run too
        )
    try:
        wait_until(lambda: process.poll() is not None or "is up" in _since(log, begin), seconds=120)
        assert process.poll() is None, _since(log, begin)
        connection = json.loads((data_dir / "connection.json").read_text())
        client = Client(connection["base_url"], connection["api_key"])
        yield Platform(process, data_dir, client, connection)
        client.close()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=90)


def _since(log: Path, begin: int) -> str:
    return log.read_bytes()[begin:].decode("utf-8", "replace")


def wait_until(condition, *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_store(tmp_path_factory.mktemp("store"))


def tiny_store(folder: Path) -> Path:
    """A model store with one tiny random model, brought there as a user would."""
    from tests.tiny_model import build_tiny_model

    made = build_tiny_model(folder / "made" / "tiny")
    store = folder / "models"
    fetch = [sys.executable, "-m", "cli.main", "models", "fetch", str(made)]
    env = os.environ | {"TUNEYARD_MODEL_DIR": str(store)}
    subprocess.run(fetch, check=True, env=env, timeout=120)
    return store


@pytest.fixture(scope="session")
def platform(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One platform for all end-to-end tests that leave it whole."""
    with running(tmp_path_factory.mktemp("platform"), model_dir) as platform:
        yield platform


@pytest.fixture(scope="session")
def shop(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The shop's database and a ready dataset of its questions, uploaded over HTTP."""
    return upload_shop(platform.client, tmp_path_factory.mktemp("shop"))


def upload_shop(client: Client, folder: Path) -> dict[str, Any]:
    client.upload("/v1/databases", build_shop(folder / "shop.sqlite"), name="shop")
    file = write_jsonl(folder / "pairs.jsonl", pairs())
    made = client.upload("/v1/datasets", file, name="shop-pairs", database="shop", model="tiny")
    client.wait(made["job"])
    return client.get("/v1/datasets/shop-pairs")
