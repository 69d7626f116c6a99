"""A real `tuneyard up` as a child of the test."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from cli.platform.leash import dies_with

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120
COMMAND = [sys.executable, "-m", "cli.main", "up"]


def environment(folder: Path) -> dict[str, str]:
    """Nothing of the caller's platform; no spare runner, since importing torch takes longest."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("TUNEYARD_")}
    return {
        **ours,
        "PYTHONPATH": str(ROOT),
        "TUNEYARD_MODEL_DIR": str(folder / "models"),
        "TUNEYARD_DEVICE": "cpu",
        "TUNEYARD_SPARE_RUNNER": "false",
        "TUNEYARD_STOP_GRACE_SECONDS": "2",
    }


class Platform:
    """`tuneyard up` on a data directory; ready once constructed."""

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.output = folder / "output"
        command = [*COMMAND, "--data-dir", str(self.data_dir), "--port", str(port)]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                env=environment(folder),
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=dies_with(os.getpid()),
            )
        self._wait_ready()

    @property
    def connection(self) -> dict[str, Any]:
        try:
            return json.loads((self.data_dir / "connection.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"pids": {}}

    @property
    def said(self) -> str:
        return self.output.read_text(encoding="utf-8")

    def processes(self) -> list[psutil.Process]:
        """`up` and everything below it."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def stop(self, *, by: int = signal.SIGTERM) -> int:
        self.process.send_signal(by)
        return self.process.wait(timeout=60)

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self.connection["pids"].get("up") != self.process.pid:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"`up` is not ready: {self.said}")
            time.sleep(0.1)


def wait_for(done, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; a zombie only waits for its exit code to be fetched."""
    found = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found
