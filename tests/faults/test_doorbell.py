"""The broker is a doorbell: a ring twice, never, or half done changes nothing of the job."""

import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from core import queue
from tests.faults.rig import Rig, wait_until
from tests.faults.trainings import QUICK, in_training, made_of, outcomes, query
from tests.platform import environment
from tests.servers import Server


def ring(rig: Rig, job_id: str, number: int) -> None:
    """Send the message of a job once more, as the product does."""
    with environment(broker_url=rig.settings["broker_url"]):
        assert queue.ring(job_id, number=number, queue="gpu", job_type="train")


def answer_to(rig: Rig, task_id: str) -> str:
    """What a gpu worker made of a message: the line in which Celery tells its result."""
    lines: list[str] = []

    def told() -> bool:
        texts = rig.log("gpu0", end=0) + rig.log("gpu1", end=0)
        lines[:] = [text for text in texts.splitlines() if f"[{task_id}] succeeded" in text]
        return bool(lines)

    wait_until(told, seconds=60, what=lambda: f"no worker has answered {task_id}")
    return lines[0]


@pytest.mark.fault(5)
def test_a_message_that_comes_twice_while_the_job_runs_starts_nothing(
    machine: Rig, undisturbed: dict[str, Any]
) -> None:
    job_id = in_training(machine, "rung-twice")
    for number in (91, 92):
        ring(machine, job_id, number)
        assert "not claimed" in answer_to(machine, f"{job_id}-{number}")
    assert outcomes(machine, job_id) == [None]
    assert made_of(machine, job_id, "rung-twice") == undisturbed
    assert outcomes(machine, job_id) == ["succeeded"]


@pytest.mark.fault(5)
def test_a_message_that_comes_again_after_success_does_nothing(machine: Rig) -> None:
    job_id = machine.client.submit("train", adapter="rung-after", **QUICK)["id"]
    made = made_of(machine, job_id, "rung-after")
    events = machine.events(job_id)
    ring(machine, job_id, 93)
    assert "not claimed" in answer_to(machine, f"{job_id}-93")
    assert made_of(machine, job_id, "rung-after") == made
    assert machine.events(job_id) == events
    assert outcomes(machine, job_id) == ["succeeded"]


def with_own_failpoint(rig: Rig, name: str, failpoint: str, folder: Path) -> None:
    """Start a process that alone reaches this failpoint, and dies there."""
    (folder / failpoint).write_text("kill")
    rig.start(name, env={"TUNEYARD_FAILPOINTS": str(folder)})


def wait_fallen(process: subprocess.Popen) -> None:
    wait_until(lambda: process.poll() is not None, seconds=30, what=lambda: "it lives")


def post_job(rig: Rig, adapter: str) -> httpx.Response:
    """Submit a short training as a careful client does: with a key of its own."""
    return httpx.post(
        f"{rig.base_url}/v1/jobs",
        json={"type": "train", "params": QUICK | {"adapter": adapter}},
        headers={"authorization": f"Bearer {rig.key}", "idempotency-key": adapter},
        timeout=60,
    )


@pytest.mark.fault(6)
@pytest.mark.parametrize(
    "failpoint", ["job.publish", pytest.param("job.rung", marks=pytest.mark.chaos)]
)
def test_a_job_whose_api_dies_while_it_rings_runs_once_and_a_retry_with_its_key_gets_that_job(
    machine: Rig, tmp_path: Path, failpoint: str
) -> None:
    machine.stop("api")
    with_own_failpoint(machine, "api", failpoint, tmp_path)
    machine.wait_ready()
    api = machine.running["api"]
    for number in range(10):  # now and then another process rings before the API comes to it
        adapter = f"api-died-{failpoint.replace('.', '-')}-{number}"
        try:
            post_job(machine, adapter)
        except httpx.TransportError:
            break
    wait_fallen(api)
    machine.running.pop("api")
    machine.start("api")
    machine.wait_ready()
    again = post_job(machine, adapter)
    assert again.status_code == 202, again.text
    jobs = machine.client.get("/v1/jobs", limit=100)["data"]
    assert [job["id"] for job in jobs if job["params"].get("adapter") == adapter] == [
        again.json()["id"]
    ]
    made_of(machine, again.json()["id"], adapter)
    assert outcomes(machine, again.json()["id"]) == ["succeeded"]


@pytest.mark.chaos
@pytest.mark.fault(6)
@pytest.mark.parametrize("failpoint", ["job.publish", "job.rung"])
def test_a_job_whose_relay_dies_between_mark_and_message_is_rung_again_and_runs_once(
    machine: Rig, failpoint: str
) -> None:
    """The relay is whichever process sees first that a worker has come for a job that waits."""
    for name in ("gpu0", "gpu1"):
        machine.stop(name)
    adapter = f"relay-died-{failpoint.replace('.', '-')}"
    job_id = machine.client.submit("train", adapter=adapter, **QUICK)["id"]
    assert query(machine, "SELECT ring FROM jobs WHERE id = ?", job_id) == [(0,)]
    machine.arm(failpoint, "kill")
    machine.start("gpu0", "gpu1")
    wait_until(lambda: machine.fired(failpoint), seconds=60)
    [[rung]] = query(machine, "SELECT ring FROM jobs WHERE id = ?", job_id)
    assert rung >= 1, "it is marked as rung for"
    time.sleep(0.5)
    for name in [name for name, one in machine.running.items() if one.poll() is not None]:
        machine.running.pop(name)
        machine.start(name)
    made_of(machine, job_id, adapter)
    assert outcomes(machine, job_id) == ["succeeded"]


@pytest.mark.fault(7)
def test_a_job_submitted_while_the_broker_is_down_is_accepted_and_runs_when_it_is_back(
    machine: Rig, broker: Server
) -> None:
    broker.stop()
    try:
        answer = post_job(machine, "no-broker")
        assert answer.status_code == 202, answer.text
        time.sleep(3)
        assert machine.job(answer.json()["id"])["status"] == "queued"
    finally:
        broker.start()
    made_of(machine, answer.json()["id"], "no-broker")
    assert outcomes(machine, answer.json()["id"]) == ["succeeded"]
