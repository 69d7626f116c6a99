"""A wish to cancel or to pause, at whatever moment it comes: one final state, in time."""

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.rig import Rig, wait_until
from tests.faults.trainings import (
    final_states,
    holds,
    in_training,
    made_of,
    outcomes,
    query,
    runner_for,
    slack,
    submit,
    versions,
    wait_dead,
)

Moment = Callable[[Rig, str], str]
"""Brings a new training of that adapter to a moment of its life; returns the job's id."""


def queued(rig: Rig, adapter: str) -> str:
    for name in ("gpu0", "gpu1"):
        rig.stop(name)
    return submit(rig, adapter)


def training(rig: Rig, adapter: str) -> str:
    return in_training(rig, adapter)


def held_at(failpoint: str) -> Moment:
    """A moment that lasts for as long as a failpoint sleeps."""

    def reach(rig: Rig, adapter: str) -> str:
        rig.arm(failpoint, "sleep 3")
        job_id = submit(rig, adapter)
        wait_until(lambda: rig.fired(failpoint), seconds=120)
        return job_id

    return reach


MOMENTS: dict[str, Moment] = {
    "queued": queued,
    "briefing": held_at("attempt.brief"),
    "loading": held_at("runner.start"),
    "training": training,
    "saving": held_at("checkpoint.staged@40"),
    "storing": held_at("attempt.checkpoint@40"),
    "finishing": held_at("attempt.finish"),
}


def at_moments(*in_make_test: str) -> pytest.MarkDecorator:
    """At every moment; those that are not named here only in `make chaos`."""
    marks = {name: () if name in in_make_test else pytest.mark.chaos for name in MOMENTS}
    return pytest.mark.parametrize(
        "moment", [pytest.param(name, marks=mark) for name, mark in marks.items()]
    )


def wish(rig: Rig, job_id: str, word: str) -> float:
    """Ask for it over HTTP; returns when."""
    rig.client.post(f"/v1/jobs/{job_id}/{word}")
    return time.time()


def in_time(rig: Rig, job_id: str, asked: float) -> bool:
    """Was the attempt ended within heartbeat + grace? One that was never begun, at once."""
    ended = max((one["finished_at"] for one in rig.attempts(job_id)), default=asked)
    heartbeat, grace = (
        float(rig.settings[f"{name}_seconds"]) for name in ("heartbeat", "stop_grace")
    )
    return ended - asked < heartbeat + grace + slack(rig)


def nothing_is_left_of(rig: Rig, job_id: str) -> None:
    """No process works on it any more, and its scratch is gone."""
    wait_until(lambda: not list((rig.folder / "data" / "work").glob(f"*/{job_id}-*")))
    with pytest.raises(LookupError):
        runner_for(rig, job_id)


@pytest.mark.fault(17)
@at_moments("queued", "training")
def test_a_cancelled_job_ends_once_and_in_time(machine: Rig, moment: str) -> None:
    adapter = f"cancelled-{moment}"
    job_id = MOMENTS[moment](machine, adapter)
    asked = wish(machine, job_id, "cancel")
    ended = machine.wait_status(job_id, "cancelled", "succeeded", "failed")["status"]
    assert in_time(machine, job_id, asked)
    # Only one that is being recorded already may still end well.
    assert ended == "cancelled" or (moment, ended) == ("finishing", "succeeded")
    nothing_is_left_of(machine, job_id)
    assert holds(lambda: final_states(machine, job_id) == [ended], 2)
    assert versions(machine, adapter) == ([job_id] if ended == "succeeded" else [])
    assert outcomes(machine, job_id) == ([] if moment == "queued" else [ended])


@pytest.mark.chaos
@pytest.mark.fault(17)
def test_a_job_whose_runner_hangs_is_cancelled_in_time_all_the_same(machine: Rig) -> None:
    job_id = in_training(machine, "cancelled-hung")
    runner = runner_for(machine, job_id)
    runner.send_signal(signal.SIGSTOP)
    asked = wish(machine, job_id, "cancel")
    machine.wait_status(job_id, "cancelled")
    assert in_time(machine, job_id, asked)
    wait_dead(runner)
    nothing_is_left_of(machine, job_id)
    assert final_states(machine, job_id) == ["cancelled"]


@pytest.mark.fault(17)
@at_moments("training")
def test_a_paused_job_frees_its_worker_in_time_and_resumed_comes_to_the_same(
    machine: Rig, undisturbed: dict[str, Any], moment: str
) -> None:
    adapter = f"paused-{moment}"
    job_id = MOMENTS[moment](machine, adapter)
    asked = wish(machine, job_id, "pause")
    status = machine.wait_status(job_id, "paused", "succeeded")["status"]
    assert in_time(machine, job_id, asked)
    if moment == "queued":
        machine.start("gpu0", "gpu1")
        machine.wait_ready()
    if status == "paused":
        nothing_is_left_of(machine, job_id)
        assert holds(lambda: machine.job(job_id)["status"] == "paused", 3), "nobody wakes it"
        assert query(machine, "SELECT barren_attempts FROM jobs WHERE id = ?", job_id) == [(0,)]
        sql = "SELECT coalesce(max(step), 0) FROM metrics WHERE job_id = ?"
        [[last_step]] = query(machine, sql, job_id)
        wish(machine, job_id, "resume")
    else:
        # While its supervisor stores, a runner trains on, perhaps to its end.
        assert moment in ("storing", "finishing")
    assert made_of(machine, job_id, adapter) == undisturbed
    if status == "paused" and moment != "queued":
        assert outcomes(machine, job_id) == ["paused", "succeeded"]
        assert (machine.attempts(job_id)[1]["resumed_from_step"] or 0) == last_step


@pytest.mark.fault(17)
def test_a_cancel_beats_a_pause(machine: Rig) -> None:
    job_id = held_at("runner.start")(machine, "paused-cancelled")
    wish(machine, job_id, "pause")
    asked = wish(machine, job_id, "cancel")
    machine.wait_status(job_id, "cancelled")
    assert in_time(machine, job_id, asked)
    assert holds(lambda: final_states(machine, job_id) == ["cancelled"], 2)
    assert outcomes(machine, job_id) == ["cancelled"]


@pytest.mark.fault(17)
def test_a_paused_job_is_cancelled_at_once(machine: Rig) -> None:
    job_id = in_training(machine, "cancelled-paused")
    wish(machine, job_id, "pause")
    machine.wait_status(job_id, "paused")
    wish(machine, job_id, "cancel")
    assert machine.job(job_id)["status"] == "cancelled"
    assert final_states(machine, job_id) == ["cancelled"]
    assert versions(machine, "cancelled-paused") == []


@pytest.mark.chaos
@pytest.mark.fault(17)
@pytest.mark.parametrize(("word", "left"), [("cancel", "cancelled"), ("pause", "paused")])
def test_a_worker_killed_with_a_wish_open_leaves_the_job_as_wished(
    machine: Rig, word: str, left: str
) -> None:
    job_id = in_training(machine, f"killed-{left}")
    runner_for(machine, job_id).suspend()  # it will not heed the wish
    name = machine.worker_of(job_id)
    wish(machine, job_id, word)
    machine.kill(name)
    machine.wait_status(job_id, left, seconds=60)
    assert holds(lambda: machine.job(job_id)["status"] == left, 3)
    assert len(outcomes(machine, job_id)) == 1, "no second attempt"
