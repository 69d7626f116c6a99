"""kill -9 to each process that a job runs in: it costs the work since the checkpoint, no more."""

import signal
import time
from typing import Any

import pytest

from tests.faults.rig import Rig
from tests.faults.trainings import (
    FIRST_SAVE,
    in_training,
    lease,
    made_of,
    outcomes,
    pool_child,
    processes_of,
    slack,
    submit,
    wait_dead,
)


def requeued_in_time(rig: Rig, job_id: str, killed: float) -> bool:
    """Is the attempt that was struck recorded as lost within lease + sweep, and another begun?"""
    first, second = rig.attempts(job_id)
    assert second["resumed_from_step"] >= FIRST_SAVE
    sweep = float(rig.settings["sweep_seconds"])
    return first["finished_at"] - killed < lease(rig) + sweep + slack(rig)


@pytest.mark.fault(1)
def test_a_runner_killed_while_it_trains_costs_nothing_but_time(
    machine: Rig, undisturbed: dict[str, Any]
) -> None:
    job_id = in_training(machine, "killed-runner")
    machine.runner_of(machine.worker_of(job_id)).send_signal(signal.SIGKILL)
    killed = time.time()
    assert made_of(machine, job_id, "killed-runner") == undisturbed
    assert outcomes(machine, job_id) == ["lost", "succeeded"]
    assert requeued_in_time(machine, job_id, killed)
    assert "killed by signal 9" in machine.attempts(job_id)[0]["message"]


@pytest.mark.fault(1)
def test_a_runner_killed_in_the_middle_of_a_step_does_that_step_again(
    machine: Rig, undisturbed: dict[str, Any]
) -> None:
    machine.arm("train.step@33", "kill")
    job_id = submit(machine, "killed-in-step")
    assert made_of(machine, job_id, "killed-in-step") == undisturbed
    assert machine.fired("train.step@33")
    assert outcomes(machine, job_id) == ["lost", "succeeded"]
    assert machine.attempts(job_id)[1]["resumed_from_step"] == FIRST_SAVE


@pytest.mark.fault(2)
def test_a_killed_worker_takes_its_runner_along_within_two_seconds_and_the_job_goes_on(
    machine: Rig, undisturbed: dict[str, Any]
) -> None:
    job_id = in_training(machine, "killed-worker")
    name = machine.worker_of(job_id)
    family = processes_of(machine, name)
    machine.kill(name)
    killed = time.time()
    assert wait_dead(*family, seconds=2) - killed < 2
    assert made_of(machine, job_id, "killed-worker") == undisturbed
    assert outcomes(machine, job_id) == ["lost", "succeeded"]
    assert requeued_in_time(machine, job_id, killed)


@pytest.mark.chaos
@pytest.mark.fault(2)
def test_a_killed_supervisor_takes_its_runner_along_and_its_worker_lives_on(
    machine: Rig, undisturbed: dict[str, Any]
) -> None:
    job_id = in_training(machine, "killed-supervisor")
    name = machine.worker_of(job_id)
    supervisor, runner = pool_child(machine, name), machine.runner_of(name)
    supervisor.kill()
    killed = time.time()
    assert wait_dead(supervisor, runner, seconds=2) - killed < 2
    assert made_of(machine, job_id, "killed-supervisor") == undisturbed
    assert outcomes(machine, job_id) == ["lost", "succeeded"]
    assert requeued_in_time(machine, job_id, killed)
    assert machine.running[name].poll() is None
