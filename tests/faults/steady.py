"""Work that goes on while a server is struck, and how soon work is taken again. Starts nothing."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.shop import pairs, write_jsonl
from tests.faults.rig import Rig, wait_until
from tests.faults.trainings import LONG, outcomes, runner_for

CONSUMING_SECONDS = 60
"""Within this long after a server is whole again, queued jobs are taken."""


def prepare(rig: Rig) -> str:
    """Submit the smallest job that a cpu worker runs; accepted at any time. Returns its id."""
    name = f"again-{time.monotonic_ns()}"
    file = write_jsonl(rig.folder / f"{name}.jsonl", pairs(20))
    return rig.client.upload("/v1/datasets", file, name=name, database="shop")["job"]


def step(rig: Rig, job_id: str) -> int:
    return (rig.job(job_id)["progress"] or {}).get("step", 0)


def training(rig: Rig, *, epochs: int = 900, seconds: float = 200) -> str:
    """A training that makes steps by now; by default one that does not end by itself."""
    job_id = rig.client.submit("train", **(LONG | {"epochs": epochs}))["id"]
    wait_until(lambda: step(rig, job_id) > 0, seconds=seconds, what=lambda: rig.job(job_id))
    return job_id


@contextmanager
def untouched_training(rig: Rig) -> Iterator[str]:
    """A training runs all the while in one runner on one attempt, and goes on afterwards."""
    job_id = training(rig)
    runner = runner_for(rig, job_id)
    yield job_id
    before = step(rig, job_id)
    wait_until(lambda: step(rig, job_id) > before, what=lambda: rig.events(job_id))
    assert outcomes(rig, job_id) == [None]
    assert runner.is_running()
    cancel(rig, job_id)


def cancel(rig: Rig, job_id: str) -> None:
    rig.client.post(f"/v1/jobs/{job_id}/cancel")
    rig.wait_status(job_id, "cancelled")


def claimed_after(rig: Rig, job_id: str, whole: float) -> float:
    """Seconds from `whole` until a worker took the job; it ran once, and well."""
    rig.wait_status(job_id, "succeeded", seconds=150)
    [attempt] = rig.attempts(job_id)
    seconds = attempt["started_at"] - whole
    print(f"taken after {seconds:.1f} s")
    return seconds


def dead(rig: Rig) -> list[str]:
    """Names of processes that have ended although nobody told them to."""
    return [name for name, process in rig.running.items() if process.poll() is not None]
