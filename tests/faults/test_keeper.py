"""The keeper and its clock may die at any time: jobs go on, and mending resumes within a minute."""

import time

import pytest

from tests.faults.rig import Rig, wait_until
from tests.faults.trainings import QUICK, in_training, lease, made_of, outcomes, submit

A_MINUTE = 60.0


def sweeps(rig: Rig) -> int:
    return rig.log("keeper", end=0).count("keeper.sweep[")


@pytest.mark.chaos
@pytest.mark.fault("18b")
def test_a_dead_keeper_and_beat_hold_up_no_submit_and_mend_within_a_minute_of_their_return(
    machine: Rig,
) -> None:
    job_id = in_training(machine, "keeper-died")
    for name in ("keeper", "beat"):
        machine.kill(name)
    quick = machine.client.submit("train", adapter="no-keeper", **QUICK)["id"]
    made_of(machine, quick, "no-keeper")  # rung for by the API itself, on the other worker
    machine.kill(machine.worker_of(job_id))  # and this needs a sweep
    time.sleep(lease(machine) + 2)
    assert machine.job(job_id)["status"] == "running", "nobody sweeps"
    machine.start("keeper", "beat")
    wait_until(lambda: outcomes(machine, job_id)[0] == "lost", seconds=A_MINUTE)
    made_of(machine, job_id, "keeper-died")
    assert outcomes(machine, job_id) == ["lost", "succeeded"]


@pytest.mark.fault("18b")
def test_sweeps_go_on_while_every_gpu_worker_is_busy_and_come_back_after_a_kill(
    machine: Rig,
) -> None:
    for name in ("train.step@5", "train.step@6"):
        machine.arm(name, "sleep 600")  # both workers are busy for hours
    for adapter in ("busy-0", "busy-1"):
        submit(machine, adapter)
    wait_until(lambda: machine.fired("train.step@5") and machine.fired("train.step@6"), seconds=120)
    for kill in ((), ("keeper",), ("beat",), ("keeper", "beat")):
        for name in kill:
            machine.kill(name)
            machine.start(name)
        before = sweeps(machine)
        wait_until(lambda before=before: sweeps(machine) >= before + 4, seconds=A_MINUTE)
