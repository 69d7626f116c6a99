"""The API as a process of its own, for what a test client can't show: deaths, hangs, big bodies."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from cli.platform.leash import dies_with
from tests.platform import ROOT
from tests.servers import free_port


@dataclass
class Api:
    base_url: str
    process: subprocess.Popen
    log: Path


@contextmanager
def api_process(folder: Path, **env: str) -> Iterator[Api]:
    """uvicorn with this process's TUNEYARD_* settings; yields when it answers."""
    port, log = free_port(), folder / "api.log"
    command = [sys.executable, "-m", "uvicorn", "api.app:create_app", "--factory"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env=os.environ | {"PYTHONPATH": str(ROOT)} | env,
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=dies_with(os.getpid()),
        )
    api = Api(f"http://127.0.0.1:{port}", process, log)
    try:
        _wait(api)
        yield api
    finally:
        process.kill()
        process.wait()


def _wait(api: Api) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and api.process.poll() is None:
        with suppress(httpx.TransportError):
            httpx.get(f"{api.base_url}/health/live", timeout=5).raise_for_status()
            return
        time.sleep(0.1)
    raise AssertionError(api.log.read_text(encoding="utf-8"))
