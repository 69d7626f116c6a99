"""Starts the platform for the demo as a user would, and stops it. Knows only the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cli.platform.errors import StartFailed
from cli.platform.leash import dies_with

START_SECONDS = 180
PRODUCTION = ("DATABASE_URL", "BROKER_URL", "STORAGE_URL", "REDIS_URL", "WORK_DIR")
"""Where a real platform of this user keeps its own; the demo has all below its data directory."""


@contextmanager
def platform(data_dir: Path, *, keep: bool) -> Iterator[dict[str, Any]]:
    """Run `tuneyard up` on `data_dir`; yields its connection. `keep` leaves it running."""
    log = data_dir / "up.log"
    command = [sys.executable, "-m", "cli.main", "up", "--data-dir", str(data_dir), "--port", "0"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=_environment(),
            # Unless it is to stay, the platform goes when the demo goes, however that ends.
            preexec_fn=None if keep else dies_with(os.getpid(), by=signal.SIGTERM),
        )
    try:
        yield _connection(process, data_dir, log)
    except BaseException:
        keep = False
        raise
    finally:
        if not keep:
            _stop(process)


def _environment() -> dict[str, str]:
    others = {f"TUNEYARD_{name}" for name in PRODUCTION}
    kept = {name: value for name, value in os.environ.items() if name not in others}
    return kept | {"PYTHONUNBUFFERED": "1"}


def _connection(process: subprocess.Popen, data_dir: Path, log: Path) -> dict[str, Any]:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        text = log.read_text(encoding="utf-8")
        if "Tuneyard is up" in text:
            return json.loads((data_dir / "connection.json").read_text(encoding="utf-8"))
        if process.poll() is not None:
            raise StartFailed(f"the platform did not start:\n{text.strip()}")
        time.sleep(0.2)
    raise StartFailed(f"the platform was not ready within {START_SECONDS} s; see {log}")


def _stop(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=90)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
