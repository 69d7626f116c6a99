"""A job that dies at every start is given up after three attempts; its neighbours never notice."""

import contextlib
from typing import Any

import psutil
import pytest

from tests.faults.rig import Rig, wait_until
from tests.faults.trainings import QUICK, final_states, made_of, outcomes, runner_for, submit


def crash_at_every_start(rig: Rig, job_id: str, *, seconds: float) -> None:
    """Kill the job's runner whenever there is one, until the job has ended."""

    def ended() -> bool:
        with contextlib.suppress(LookupError, psutil.NoSuchProcess):
            runner_for(rig, job_id).kill()
        return rig.job(job_id)["status"] == "failed"

    wait_until(ended, seconds=seconds, what=lambda: rig.events(job_id))


def refused_for_good(rig: Rig, job_id: str) -> dict[str, Any]:
    job = rig.job(job_id)
    assert outcomes(rig, job_id) == ["lost"] * 3
    assert final_states(rig, job_id) == ["failed"]
    assert job["error"]["class"] == "crash"
    assert "3 attempts in a row" in job["error"]["message"]
    return job


@pytest.mark.fault(16)
def test_a_job_that_crashes_at_every_start_is_given_up_after_three_and_its_neighbours_proceed(
    machine: Rig,
) -> None:
    before = submit(machine, "neighbour-before", epochs=1)
    poison = submit(machine, "poison")
    after = [submit(machine, f"neighbour-{n}", epochs=1) for n in range(2)]
    crash_at_every_start(machine, poison, seconds=120)
    refused_for_good(machine, poison)
    made_of(machine, before, "neighbour-before")
    for n, job_id in enumerate(after):
        made_of(machine, job_id, f"neighbour-{n}")
        assert outcomes(machine, job_id) == ["succeeded"]
    assert outcomes(machine, before) == ["succeeded"]


@pytest.mark.chaos
@pytest.mark.fault(16)
def test_a_job_whose_briefing_kills_its_supervisor_is_given_up_after_three(machine: Rig) -> None:
    poison = submit(machine, "poison-briefing")
    for _ in range(3):
        machine.arm("attempt.brief", "kill")
        wait_until(
            lambda: not (machine.folder / "failpoints" / "attempt.brief").exists(), seconds=60
        )
    machine.wait_status(poison, "failed", seconds=60)
    refused_for_good(machine, poison)
    job_id = machine.client.submit("train", adapter="after-poison", **QUICK)["id"]
    made_of(machine, job_id, "after-poison")
