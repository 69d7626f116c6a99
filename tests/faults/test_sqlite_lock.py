"""Whoever holds SQLite's write lock for a while makes the others wait: no request fails of it."""

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx
import pytest

from tests.faults.rig import Rig
from tests.faults.trainings import QUICK, in_training, made_of, outcomes

HELD_SECONDS = 3.0


def ask(rig: Rig, number: int) -> tuple[int, float]:
    """One request of a mixed lot, each with a connection of its own: status and seconds."""
    headers = {"authorization": f"Bearer {rig.key}"}
    began = time.monotonic()
    with httpx.Client(base_url=rig.base_url, headers=headers, timeout=60) as client:
        if number % 2:
            answer = client.get("/v1/jobs")
        else:
            params = QUICK | {"adapter": f"while-locked-{number}"}
            answer = client.post("/v1/jobs", json={"type": "train", "params": params})
    return answer.status_code, time.monotonic() - began


@pytest.mark.fault(19)
def test_requests_wait_for_a_writer_that_holds_the_lock_for_three_seconds(
    machine: Rig, undisturbed: dict[str, Any]
) -> None:
    job_id = in_training(machine, "while-locked")
    path = machine.folder / "tuneyard.db"
    with (
        closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as holder,
        ThreadPoolExecutor(8) as pool,
    ):
        holder.execute("BEGIN IMMEDIATE")
        asked = [pool.submit(ask, machine, number) for number in range(8)]
        time.sleep(HELD_SECONDS)
        assert not any(one.done() for one in asked[::2]), "a write went through the lock"
        holder.execute("ROLLBACK")
        answers = [one.result() for one in asked]
    assert [status for status, _ in answers] == [202, 200] * 4
    assert all(seconds >= HELD_SECONDS - 0.5 for _, seconds in answers[::2])
    assert made_of(machine, job_id, "while-locked") == undisturbed
    assert outcomes(machine, job_id) == ["succeeded"]
