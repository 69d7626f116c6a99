"""A frozen attempt may wake when another has taken its job: then it writes nothing and is gone."""

from typing import Any

import psutil
import pytest

from tests.faults.rig import Rig, wait_until
from tests.faults.trainings import (
    QUICK,
    alive,
    freeze,
    holds,
    in_training,
    lease,
    made_of,
    outcomes,
    pool_child,
    processes_of,
    query,
    wait_dead,
)


def thaw(processes: list[psutil.Process]) -> None:
    for process in processes:
        if alive(process):
            process.resume()


def record_of_the_first(rig: Rig, job_id: str) -> dict[str, Any]:
    """What the database holds of a job's first attempt."""
    mine = "WHERE job_id = ? AND token = 1"
    return {
        "attempt": rig.attempts(job_id)[0],
        "checkpoints": query(rig, f"SELECT id, step FROM checkpoints {mine}", job_id),
        "log": query(rig, f"SELECT seq, text FROM log_chunks {mine}", job_id),
    }


def points_of_the_first(rig: Rig, job_id: str) -> set[tuple]:
    sql = 'SELECT step, "values" FROM metrics WHERE job_id = ? AND token = 1'
    return set(query(rig, sql, job_id))


def let_another_take_it(rig: Rig, job_id: str, frozen: str) -> None:
    """Wait until the other worker trains it, and hold that one in the midst of a save."""
    rig.arm("checkpoint.staged", "sleep 4")
    wait_until(lambda: rig.fired("checkpoint.staged"), seconds=120)
    first, second = rig.attempts(job_id)
    assert (first["outcome"], second["outcome"]) == ("lost", None)
    assert not second["worker"].startswith(frozen)


@pytest.mark.fault(3)
@pytest.mark.parametrize(
    "whole",
    [True, pytest.param(False, marks=pytest.mark.chaos)],
    ids=["all of it", "its supervisor alone"],
)
def test_a_worker_thawed_after_its_lease_writes_nothing_and_the_new_attempt_wins(
    machine: Rig, undisturbed: dict[str, Any], whole: bool
) -> None:
    adapter = "frozen-whole" if whole else "frozen-supervisor"
    job_id = in_training(machine, adapter)
    name = machine.worker_of(job_id)
    runner = machine.runner_of(name)
    processes = processes_of(machine, name) if whole else [pool_child(machine, name)]
    freeze(machine, processes)
    if not whole:  # the runner hears nothing any more and must go before another may begin
        gone = wait_dead(runner)
    let_another_take_it(machine, job_id, name)
    if not whole:
        assert gone < machine.attempts(job_id)[1]["started_at"]
    record, points = record_of_the_first(machine, job_id), points_of_the_first(machine, job_id)
    assert points
    thaw(processes)
    wait_dead(runner)
    wait_until(lambda: "lost its claim" in machine.log(name, end=0), what=lambda: machine.log(name))
    assert record_of_the_first(machine, job_id) == record
    assert points_of_the_first(machine, job_id) <= points
    assert made_of(machine, job_id, adapter) == undisturbed
    assert outcomes(machine, job_id) == ["lost", "succeeded"]
    assert machine.attempts(job_id)[0] == record["attempt"]
    [[key]] = query(machine, "SELECT storage_key FROM adapter_versions WHERE job_id = ?", job_id)
    assert "/attempt-2/" in key
    assert machine.running[name].poll() is None, "the worker itself lives on"


@pytest.mark.chaos
@pytest.mark.fault(3)
def test_a_worker_whose_main_process_alone_is_frozen_keeps_the_job_that_it_has(
    machine: Rig, undisturbed: dict[str, Any]
) -> None:
    job_id = in_training(machine, "frozen-main")
    name = machine.worker_of(job_id)
    main = [psutil.Process(machine.running[name].pid)]
    machine.arm("checkpoint.staged", f"sleep {lease(machine) + 2}")
    freeze(machine, main)
    quick = machine.client.submit("train", adapter="beside-frozen", **QUICK)["id"]
    made_of(machine, quick, "beside-frozen")
    assert made_of(machine, job_id, "frozen-main") == undisturbed
    assert outcomes(machine, job_id) == ["succeeded"]
    thaw(main)
    machine.stop("gpu1" if name == "gpu0" else "gpu0")
    after = machine.client.submit("train", adapter="after-frozen", **QUICK)["id"]
    made_of(machine, after, "after-frozen")
    assert machine.attempts(after)[0]["worker"].startswith(name)


@pytest.mark.chaos
@pytest.mark.fault(3)
def test_a_thawed_runner_stops_itself_and_the_job_goes_on(
    machine: Rig, undisturbed: dict[str, Any]
) -> None:
    job_id = in_training(machine, "frozen-runner")
    runner = machine.runner_of(machine.worker_of(job_id))
    runner.suspend()
    # Its supervisor is well, so the lease is kept: nobody else begins meanwhile.
    assert holds(lambda: outcomes(machine, job_id) == [None], lease(machine) + 1)
    runner.resume()
    wait_dead(runner)
    assert made_of(machine, job_id, "frozen-runner") == undisturbed
    assert outcomes(machine, job_id) == ["lost", "succeeded"]
