"""Memory that runs out fails a job with a class that says so, or makes it thriftier; the worker
lives on."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults.rig import Rig, wait_until
from tests.faults.trainings import (
    LONG,
    QUICK,
    curve,
    final_states,
    made_of,
    outcomes,
    processes_of,
    runner_for,
    submit,
)

PLAIN = {"quantization": "none"}
MB = 1024**2


@pytest.fixture(autouse=True)
def unlearned(machine: Rig) -> Iterator[None]:
    """What runs out of memory teaches the platform to begin with less: each test begins untaught,
    and leaves no lesson to the trainings of other tests."""
    forget_lessons(machine)
    yield
    forget_lessons(machine)


def forget_lessons(rig: Rig) -> None:
    path = rig.folder / "tuneyard.db"
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
        connection.execute("DELETE FROM memory_lessons")


def failed_for_memory(rig: Rig, job_id: str, klass: str) -> None:
    job = rig.wait_status(job_id, "succeeded", "failed", seconds=120)
    assert (job["status"], (job["error"] or {}).get("class")) == ("failed", klass), job["error"]
    assert "memory did not suffice" in job["error"]["message"].lower()
    assert final_states(rig, job_id) == ["failed"]


def workers_live(rig: Rig, pids: dict[str, int], adapter: str) -> None:
    """The same worker processes as before, and each of the two takes a job."""
    jobs = {f"{adapter}-{n}": submit(rig, f"{adapter}-{n}", epochs=1) for n in range(2)}
    for name, job_id in jobs.items():
        made_of(rig, job_id, name)
    assert pids_of(rig) == pids


def pids_of(rig: Rig) -> dict[str, int]:
    return {name: one.pid for name, one in rig.running.items() if one.poll() is None}


@pytest.mark.fault(14)
def test_a_memory_error_in_a_runner_fails_the_job_as_oom_host_and_the_worker_lives_on(
    machine: Rig,
) -> None:
    pids = pids_of(machine)
    machine.arm("runner.start", "memory")
    job_id = submit(machine, "memory-error", **PLAIN)
    failed_for_memory(machine, job_id, "oom_host")
    assert outcomes(machine, job_id) == ["failed"]
    workers_live(machine, pids, "after-memory-error")


@pytest.mark.fault(14)
def test_a_memory_error_in_a_supervisor_costs_an_attempt_and_no_worker(machine: Rig) -> None:
    """Out of a task it would end Celery's main process."""
    pids = pids_of(machine)
    machine.arm("attempt.brief", "memory")
    job_id = machine.client.submit("train", adapter="supervisor-memory", **QUICK)["id"]
    made_of(machine, job_id, "supervisor-memory")
    assert outcomes(machine, job_id) == ["lost", "succeeded"]
    assert pids_of(machine) == pids


@pytest.mark.chaos
@pytest.mark.fault(14)
def test_a_runner_that_may_have_no_more_memory_fails_as_oom_host_and_the_worker_lives_on(
    machine: Rig,
) -> None:
    pids = pids_of(machine)
    machine.arm("runner.start", "sleep 3")
    job_id = submit(machine, "no-memory", **PLAIN)
    wait_until(lambda: machine.fired("runner.start"), seconds=60)
    runner = runner_for(machine, job_id)
    limit = runner.memory_info().vms + 16 * MB
    runner.rlimit(psutil.RLIMIT_AS, (limit, limit))
    failed_for_memory(machine, job_id, "oom_host")
    assert outcomes(machine, job_id) == ["failed"]
    workers_live(machine, pids, "after-no-memory")


CGROUPS = Path("/sys/fs/cgroup")


class SmallGroup:
    """A control group of memory, of either version."""

    def __init__(self, name: str) -> None:
        new = (CGROUPS / "cgroup.controllers").exists()
        self.folder = CGROUPS / ("" if new else "memory") / name
        self.folder.mkdir()
        self._limit = self.folder / ("memory.max" if new else "memory.limit_in_bytes")
        self._used = self.folder / ("memory.current" if new else "memory.usage_in_bytes")
        self._unlimited = "max" if new else "-1"
        self._limit.read_text()

    def take(self, processes: list[psutil.Process]) -> None:
        for process in processes:
            (self.folder / "cgroup.procs").write_text(str(process.pid))

    def squeeze(self) -> None:
        """Leave nothing to what it holds now: down to where the kernel finds no more to take."""
        limit = int(self._used.read_text())
        with suppress(OSError):
            while limit > 0:
                self._limit.write_text(str(limit))
                limit -= 8 * MB

    def release(self) -> None:
        self._limit.write_text(self._unlimited)


@pytest.fixture
def small_group(machine: Rig) -> Iterator[SmallGroup]:
    try:
        group = SmallGroup(f"tuneyard-faults-{os.getpid()}")
    except OSError as error:
        pytest.skip(f"needs the right to make a control group of memory: {error}")
    yield group
    group.release()
    for name in ("gpu0", "gpu1"):
        if name in machine.running:
            machine.kill(name)
    wait_until(lambda: not (group.folder / "cgroup.procs").read_text())
    group.folder.rmdir()


@pytest.mark.chaos
@pytest.mark.fault(14)
def test_a_runner_that_the_kernel_kills_for_its_memory_begins_again_with_half_the_micro_batch(
    machine: Rig, small_group: SmallGroup
) -> None:
    machine.stop("gpu1")
    small_group.take(processes_of(machine, "gpu0"))
    pids = pids_of(machine)
    machine.arm("train.step@2", "sleep 3")
    job_id = submit(machine, "kernel-killed")
    wait_until(lambda: machine.fired("train.step@2"), seconds=120)
    small_group.squeeze()
    wait_until(lambda: outcomes(machine, job_id)[0] is not None, seconds=60)
    small_group.release()
    made_of(machine, job_id, "kernel-killed")
    first = machine.attempts(job_id)[0]
    assert (first["outcome"], first["failure"]) == ("lost", "oom_host")
    assert "kernel killed the runner" in first["message"]
    assert machine.job(job_id)["result"]["resolved"]["micro_batch"] == LONG["batch_size"] // 2
    assert pids_of(machine) == pids


def learned(rig: Rig, job_id: str) -> dict[int, float]:
    return {step: point["loss"] for step, point in curve(rig, job_id).items()}


@pytest.mark.fault(15)
def test_a_step_that_runs_out_of_gpu_memory_is_done_again_with_half_the_micro_batch(
    machine: Rig,
) -> None:
    plain = submit(machine, "never-out-of-memory", **PLAIN)
    made_of(machine, plain, "never-out-of-memory")
    machine.arm("train.step@33", "oom")
    job_id = submit(machine, "healed", **PLAIN)
    made_of(machine, job_id, "healed")
    assert machine.fired("train.step@33")
    assert outcomes(machine, job_id) == ["succeeded"], "within the same attempt"
    before, after = (
        machine.job(one)["result"]["resolved"]["micro_batch"] for one in (plain, job_id)
    )
    assert after == before // 2
    [said] = [one for one in warnings(machine, job_id) if "step 33" in one["message"]]
    assert f"micro_batch {before}" in said["message"]
    assert f"micro_batch {after}" in said["message"]
    # The batch is the same, cut otherwise: the same losses but for rounding.
    assert learned(machine, job_id) == pytest.approx(learned(machine, plain), rel=0.02)


def warnings(rig: Rig, job_id: str) -> list[dict[str, Any]]:
    events = rig.client.pages(f"/v1/jobs/{job_id}/events")
    return [event for event in events if event["level"] == "warning"]


@pytest.mark.chaos
@pytest.mark.fault(15)
def test_a_halved_micro_batch_outlives_a_kill(machine: Rig) -> None:
    machine.arm("train.step@5", "oom")
    machine.arm("train.step@33", "kill")
    job_id = submit(machine, "healed-killed", **PLAIN)
    made_of(machine, job_id, "healed-killed")
    assert outcomes(machine, job_id) == ["lost", "succeeded"]
    healings = [one for one in warnings(machine, job_id) if "done again with" in one["message"]]
    assert len(healings) == 1, "the second attempt began as the first one ended"


@pytest.mark.fault(15)
def test_a_step_that_fits_in_no_way_fails_as_oom_gpu(machine: Rig) -> None:
    pids = pids_of(machine)
    job_id = submit(machine, "never-fits", **PLAIN, micro_batch=1, gradient_checkpointing=True)

    def failed() -> bool:
        machine.arm("train.step", "oom")
        return machine.job(job_id)["status"] == "failed"

    wait_until(failed, seconds=120, what=lambda: machine.events(job_id))
    failed_for_memory(machine, job_id, "oom_gpu")
    (machine.folder / "failpoints" / "train.step").unlink(missing_ok=True)
    workers_live(machine, pids, "after-never-fits")
