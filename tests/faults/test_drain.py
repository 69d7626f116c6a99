"""SIGTERM to a worker, as every deploy sends it: the job saves itself and goes on elsewhere."""

import signal
from typing import Any

import pytest

from tests.faults.rig import Rig, wait_until
from tests.faults.trainings import in_training, made_of, outcomes, query, submit

GRACE = 8.0
"""The shared rig's stop_grace_seconds; a worker takes a moment more to end itself."""


def barren(rig: Rig, job_id: str) -> int:
    [[count]] = query(rig, "SELECT barren_attempts FROM jobs WHERE id = ?", job_id)
    return count


@pytest.mark.fault(18)
def test_a_worker_told_to_go_saves_its_training_and_nothing_is_done_twice(
    machine: Rig, undisturbed: dict[str, Any]
) -> None:
    job_id = in_training(machine, "drained")
    assert machine.stop(machine.worker_of(job_id), seconds=GRACE + 10) == 0
    first = machine.attempts(job_id)[0]
    assert first["outcome"] == "drained"
    sql = "SELECT max(step) FROM metrics WHERE job_id = ? AND token = 1"
    [[last_step]] = query(machine, sql, job_id)
    assert made_of(machine, job_id, "drained") == undisturbed
    assert outcomes(machine, job_id) == ["drained", "succeeded"]
    assert machine.attempts(job_id)[1]["resumed_from_step"] == last_step


@pytest.mark.chaos
@pytest.mark.fault(18)
def test_a_drain_that_comes_before_any_checkpoint_is_not_counted_as_an_attempt(
    machine: Rig,
) -> None:
    machine.arm("runner.start", "sleep 2")
    job_id = submit(machine, "drained-early", epochs=1)
    wait_until(lambda: machine.fired("runner.start"), seconds=60)
    name = machine.worker_of(job_id)
    assert machine.stop(name, seconds=GRACE + 10) == 0
    assert barren(machine, job_id) == 0
    made_of(machine, job_id, "drained-early")
    assert outcomes(machine, job_id) == ["drained", "succeeded"]


@pytest.mark.chaos
@pytest.mark.fault(18)
def test_a_runner_that_does_not_heed_the_drain_is_killed_in_time_and_not_counted(
    machine: Rig, undisturbed: dict[str, Any]
) -> None:
    job_id = in_training(machine, "drain-unheard")
    name = machine.worker_of(job_id)
    machine.runner_of(name).send_signal(signal.SIGSTOP)
    assert machine.stop(name, seconds=GRACE + 10) == 0
    assert barren(machine, job_id) == 0
    assert made_of(machine, job_id, "drain-unheard") == undisturbed
    assert outcomes(machine, job_id) == ["drained", "succeeded"]


@pytest.mark.chaos
@pytest.mark.fault(18)
def test_a_deploy_that_restarts_each_worker_in_turn_loses_nothing(machine: Rig) -> None:
    adapters = [f"deployed-{number}" for number in range(4)]
    jobs = {adapter: submit(machine, adapter, epochs=4) for adapter in adapters}
    for name in ("gpu0", "gpu1", "cpu0", "keeper"):
        assert machine.stop(name, seconds=GRACE + 10) == 0
        machine.start(name)
        machine.wait_ready()
    for adapter, job_id in jobs.items():
        made_of(machine, job_id, adapter)
        assert set(outcomes(machine, job_id)) <= {"drained", "succeeded"}
