"""Trainings for faults to strike, and what must be the same whatever struck them. Starts nothing.

All are of one seed on one thread, so a run that was killed, frozen or paused can be held against
one that was left in peace, number by number and byte by byte.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psutil

from core.jobs.status import FINAL
from tests.faults.rig import Rig, wait_until

LONG = {
    "model": "tiny",
    "dataset": "shop-pairs",
    "epochs": 12,
    "batch_size": 4,
    "save_steps": 20,
    "precision": "fp32",
    "early_stopping": False,
}
QUICK = LONG | {"epochs": 1}
FIRST_SAVE = LONG["save_steps"]


def query(rig: Rig, sql: str, *arguments: object) -> list[tuple]:
    """Rows of the platform's own database: for what the API does not show."""
    with closing(sqlite3.connect(rig.folder / "tuneyard.db", timeout=30)) as connection:
        return connection.execute(sql, arguments).fetchall()


def lease(rig: Rig) -> float:
    return float(rig.settings["lease_seconds"])


def slack(rig: Rig) -> float:
    """What a promised time may be late by: the machine of a test may be busy."""
    return lease(rig) / 2


def submit(rig: Rig, adapter: str, **params: Any) -> str:
    return rig.client.submit("train", adapter=adapter, **(LONG | params))["id"]


def reach(rig: Rig, job_id: str, step: int) -> None:
    """Wait until a running job has a checkpoint at this step or behind it."""

    def saved() -> bool:
        assert rig.job(job_id)["status"] == "running", rig.job(job_id)
        rows = query(rig, "SELECT max(step) FROM checkpoints WHERE job_id = ?", job_id)
        return (rows[0][0] or 0) >= step

    rig.wait_status(job_id, "running")
    wait_until(saved, seconds=120, what=lambda: rig.events(job_id))


def in_training(rig: Rig, adapter: str, **params: Any) -> str:
    """Submit a long training and wait until it is in the midst of a step behind its first
    checkpoint, where it stays for some seconds; returns the job's id."""
    rig.arm("train.step@30", "sleep 3")
    job_id = submit(rig, adapter, **params)
    reach(rig, job_id, FIRST_SAVE)
    wait_until(lambda: rig.fired("train.step@30"), seconds=120)
    return job_id


def curve(rig: Rig, job_id: str) -> dict[int, dict[str, float]]:
    """Loss, validation loss, learning rate and gradient norm by step."""
    points = rig.client.pages(f"/v1/jobs/{job_id}/metrics")
    return {
        point["step"]: {k: v for k, v in point["values"].items() if k != "memory_bytes"}
        for point in points
    }


def made_of(rig: Rig, job_id: str, adapter: str) -> dict[str, Any]:
    """All that a training comes to; the job must have succeeded and made one version, no more."""
    done = rig.wait_status(job_id, "succeeded", "failed", "cancelled", seconds=240)
    assert done["status"] == "succeeded", (done["error"], rig.events(job_id))
    assert versions(rig, adapter) == [job_id]
    assert final_states(rig, job_id) == ["succeeded"]
    [weights] = [a for a in done["artifacts"] if a["path"].endswith("adapter_model.safetensors")]
    result = done["result"]
    losses = {name: result[name] for name in ("train_loss", "validation_loss", "best_step")}
    return {"curve": curve(rig, job_id), "weights": weights["sha256"], **losses}


def versions(rig: Rig, adapter: str) -> list[str]:
    """The jobs that made a version of this adapter."""
    adapters = rig.client.get("/v1/adapters", limit=100)["data"]
    return [v["job"] for one in adapters if one["name"] == adapter for v in one["versions"]]


def final_states(rig: Rig, job_id: str) -> list[str]:
    """Every final state that was ever written for the job."""
    events = rig.client.pages(f"/v1/jobs/{job_id}/events")
    written = [event["data"].get("status") for event in events]
    return [status for status in written if status in FINAL]


def outcomes(rig: Rig, job_id: str) -> list[str]:
    return [attempt["outcome"] for attempt in rig.attempts(job_id)]


def processes_of(rig: Rig, name: str) -> list[psutil.Process]:
    """A worker's main process, its pool's child and the runners."""
    main = psutil.Process(rig.running[name].pid)
    return [main, *main.children(recursive=True)]


def runner_for(rig: Rig, job_id: str) -> psutil.Process:
    """The runner that works on a job, whichever worker has it."""
    for name in [name for name in rig.running if name.startswith(("gpu", "cpu"))]:
        for child in psutil.Process(rig.running[name].pid).children(recursive=True):
            with contextlib.suppress(OSError, psutil.Error):
                if f"/{job_id}-" in os.readlink(f"/proc/{child.pid}/fd/1"):
                    return child
    raise LookupError(f"no runner works on {job_id}")


def pool_child(rig: Rig, name: str) -> psutil.Process:
    """The process that supervises the runner."""
    [child] = psutil.Process(rig.running[name].pid).children()
    return child


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_dead(*processes: psutil.Process, seconds: float = 30) -> float:
    """Wait until all are dead; returns the Unix second in which that was seen."""
    wait_until(
        lambda: not any(alive(one) for one in processes),
        seconds=seconds,
        what=lambda: f"still alive: {[one for one in processes if alive(one)]}",
    )
    return time.time()


def holds(condition: Callable[[], bool], seconds: float) -> bool:
    """Is it true all that time?"""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not condition():
            return False
        time.sleep(0.1)
    return True


def freeze(rig: Rig, processes: list[psutil.Process]) -> None:
    """SIGSTOP to all of them, in a moment in which none holds SQLite's write lock.

    One that is stopped in the millisecond of a commit stops every writer of the machine: that is
    SQLite's, and another test.
    """
    for _ in range(50):
        for process in processes:
            process.suspend()
        if _writable(rig):
            return
        for process in processes:
            process.resume()
        time.sleep(0.05)
    raise AssertionError("the database was locked at every try")


def _writable(rig: Rig) -> bool:
    path = rig.folder / "tuneyard.db"
    with closing(sqlite3.connect(path, timeout=2, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        connection.execute("ROLLBACK")
        return True
