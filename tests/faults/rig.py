"""A platform whose processes a test starts, kills, freezes and restarts one by one.

Every process is real and a child of the test: API, keeper, beat and workers against the broker,
database and storage that the test names, with short leases.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from cli.client import Client
from cli.platform.leash import dies_with
from tests.platform import ROOT, migrate
from tests.servers import free_port

SHORT = {
    "lease_seconds": "6",
    "heartbeat_seconds": "1",
    "fence_grace_seconds": "2",
    "sweep_seconds": "1",
    "ring_again_seconds": "3",
    "stop_grace_seconds": "15",
    "threads": "1",
}
SYSTEM = ("keeper", "beat", "api")


@dataclass
class Rig:
    """Processes by name: `api`, `keeper`, `beat`, `gpu0`, `gpu1`, `cpu0` …"""

    folder: Path
    settings: dict[str, str]
    port: int = field(default_factory=free_port)
    running: dict[str, subprocess.Popen] = field(default_factory=dict)
    client: Client | None = None
    key: str = ""

    # -- processes -------------------------------------------------------------------------------

    def start(self, *names: str, env: dict[str, str] | None = None) -> None:
        """Start processes without waiting; `env` is added to theirs."""
        for name in names:
            log = self.folder / f"{name}.log"
            with log.open("ab") as output:
                self.running[name] = subprocess.Popen(
                    self._command(name),
                    env=self.environment() | (env or {}),
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=dies_with(os.getpid()),
                )

    def signal(self, name: str, number: int) -> None:
        self.running[name].send_signal(number)

    def kill(self, name: str) -> None:
        """SIGKILL to the process alone: what becomes of its children is the product's business."""
        self.running[name].kill()
        self.running.pop(name).wait()

    def stop(self, name: str, *, seconds: float = 30) -> int:
        """SIGTERM, and wait; returns the exit code."""
        process = self.running.pop(name)
        process.terminate()
        try:
            return process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{name} did not end in {seconds} s:\n{self.log(name)}") from None

    def stop_all(self) -> None:
        for process in self.running.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.running.values():
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running.clear()

    def runner_of(self, name: str) -> psutil.Process:
        """The runner that works for a worker: its output goes to its job's log."""
        for child in psutil.Process(self.running[name].pid).children(recursive=True):
            with contextlib.suppress(OSError, psutil.Error):
                if os.readlink(f"/proc/{child.pid}/fd/1").endswith("runner.log"):
                    return child
        raise LookupError(f"no runner works for {name}")

    def log(self, name: str, *, end: int = 4000) -> str:
        """The end of what a process printed, or all of it (`end=0`)."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-end:]

    # -- failpoints ------------------------------------------------------------------------------

    def arm(self, failpoint: str, action: str) -> None:
        """The next process that reaches `failpoint` does `action`, once (`core/failpoints.py`)."""
        staged = self.folder / "failpoints" / f".{failpoint}"
        staged.write_text(action, encoding="utf-8")
        staged.rename(self.folder / "failpoints" / failpoint)

    def fired(self, failpoint: str) -> bool:
        return any((self.folder / "failpoints").glob(f"{failpoint}.fired.*"))

    # -- jobs ------------------------------------------------------------------------------------

    def job(self, job_id: str) -> dict[str, Any]:
        return self.client.get(f"/v1/jobs/{job_id}")

    def events(self, job_id: str) -> list[str]:
        page = self.client.get(f"/v1/jobs/{job_id}/events", limit=100, order="asc")
        return [event["message"] for event in page["data"]]

    def attempts(self, job_id: str) -> list[dict[str, Any]]:
        return self.client.get(f"/v1/jobs/{job_id}/attempts")["data"]

    def wait_status(self, job_id: str, *wanted: str, seconds: float = 60) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def reached() -> bool:
            found.update(self.job(job_id))
            return found["status"] in wanted

        wait_until(reached, seconds=seconds, what=lambda: f"{job_id} is {found}")
        return found

    def worker_of(self, job_id: str) -> str:
        """The name of the worker that runs a job."""
        worker = self.job(job_id)["worker"]
        assert worker, f"nobody runs {job_id}"
        return worker.partition("@")[0]

    def wait_event(self, job_id: str, text: str, *, seconds: float = 60) -> None:
        wait_until(
            lambda: any(text in message for message in self.events(job_id)),
            seconds=seconds,
            what=lambda: f"no '{text}' in {self.events(job_id)}",
        )

    # -- how it is made --------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        ours = {f"TUNEYARD_{name.upper()}": value for name, value in self.settings.items()}
        rest = {name: text for name, text in os.environ.items() if not name.startswith("TUNEYARD_")}
        paths = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        return rest | ours | paths | {"TUNEYARD_FAILPOINTS": str(self.folder / "failpoints")}

    def wait_ready(self, *, seconds: float = 60) -> None:
        """Until the API answers as ready and every started worker has joined the fleet."""
        wanted = len([name for name in self.running if name not in ("api", "beat")])

        def ready() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                answer = httpx.get(f"{self.base_url}/health/ready", timeout=5)
                return answer.is_success and sum(answer.json()["workers"].values()) >= wanted
            return False

        wait_until(ready, seconds=seconds, what=lambda: self.log("api"))

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> None:
        """A client with a key of its own, made as an operator would."""
        command = [sys.executable, "-m", "cli.main", "admin-key"]
        made = subprocess.run(
            command, env=self.environment(), cwd=self.folder, capture_output=True, text=True
        )
        assert made.returncode == 0, made.stderr
        self.key = made.stdout.split()[-1]
        self.client = Client(self.base_url, self.key)

    def _command(self, name: str) -> list[str]:
        python = [sys.executable, "-m"]
        if name == "api":
            quick = ["--timeout-graceful-shutdown", "2", "--host", "127.0.0.1"]
            app = ["uvicorn", "api.app:create_app", "--factory", "--port", str(self.port)]
            return python + app + quick
        celery = [*python, "celery", "-A", "workers.app"]
        if name == "beat":
            return [*celery, "beat", "-s", str(self.folder / "schedule"), "--pidfile="]
        queue = "system" if name.startswith("keeper") else name.rstrip("0123456789")
        node = f"{name}@{self.folder.name}"
        return [*celery, "worker", "-Q", queue, "-n", node, "-c", "1", "-l", "INFO"]


@contextmanager
def rig(
    folder: Path,
    *,
    broker_url: str,
    model_dir: Path,
    database_url: str | None = None,
    workers: tuple[str, ...] = ("gpu0", "cpu0"),
    **settings: str,
) -> Iterator[Rig]:
    """Migrate, start everything, wait until it is ready; all of it is gone afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "failpoints").mkdir()
    database_url = database_url or f"sqlite:///{folder / 'tuneyard.db'}"
    here = {
        "data_dir": str(folder / "data"),
        "model_dir": str(model_dir),
        "database_url": database_url,
        "broker_url": broker_url,
    }
    (folder / "data").mkdir()
    migrate(database_url)
    made = Rig(folder, SHORT | here | settings)
    try:
        made.start(*SYSTEM, *workers)
        made.connect()
        made.wait_ready()
        yield made
    finally:
        made.stop_all()
        if made.client is not None:
            made.client.close()


def wait_until(
    condition: Callable[[], bool],
    *,
    seconds: float = 60,
    what: Callable[[], object] = lambda: "did not happen in time",
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)
