"""A server on the real platform: killed in the middle of an answer, in the way of other jobs."""

import json
import signal
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.faults.rig import Rig
from tests.faults.trainings import lease, slack

QUESTIONS = [f"What is the total of all sales in {year}?" for year in range(2001, 2021)]
LOST_SECONDS = 8
"""Within so long a client hears that its server is gone (docs/api/serving.md)."""


def ask(rig: Rig, question: str, *, max_tokens: int, **more: object) -> dict[str, object]:
    message = {"role": "user", "content": question}
    return {"model": "tiny", "messages": [message], "max_tokens": max_tokens, **more}


def answered(rig: Rig, question: str, max_tokens: int = 40) -> int:
    """Asks, as an SDK would until it is answered; the tokens of the answer."""
    body = ask(rig, question, max_tokens=max_tokens)
    return rig.client.post("/v1/chat/completions", body)["usage"]["completion_tokens"]


def lines(response: httpx.Response) -> Iterator[dict[str, object]]:
    for line in response.iter_lines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


def says(chunk: dict[str, object]) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])


@pytest.mark.fault(27)
def test_a_server_killed_in_the_middle_of_a_stream_ends_it_with_an_error_and_comes_back(
    machine: Rig,
) -> None:
    params = {"model": "tiny", "quantization": "none", "yield_policy": "never"}
    server = machine.client.submit("serve", **params)["id"]
    machine.wait_event(server, "takes requests", seconds=120)
    long = next(one for one in QUESTIONS if answered(machine, one) == 40)
    body = ask(machine, long, max_tokens=3500, stream=True)
    headers = {"Authorization": f"Bearer {machine.key}"}
    address = f"{machine.base_url}/v1/chat/completions"
    with httpx.stream("POST", address, json=body, headers=headers, timeout=60) as response:
        chunks = lines(response)
        next(chunk for chunk in chunks if says(chunk))
        machine.runner_of(machine.worker_of(server)).send_signal(signal.SIGKILL)
        killed = time.monotonic()
        last = list(chunks)[-1]
    assert last["error"]["code"] == "server_lost"
    assert time.monotonic() - killed < LOST_SECONDS + slack(machine)
    assert answered(machine, long) == 40
    assert time.monotonic() - killed < LOST_SECONDS + lease(machine) + slack(machine)
    assert machine.job(server)["status"] == "running"
    assert [one["outcome"] for one in machine.attempts(server)] == ["lost", None]
    machine.client.post(f"/v1/jobs/{server}/cancel")
    machine.wait_status(server, "cancelled")


def test_a_server_makes_room_for_a_job_that_waits_and_comes_back_when_it_is_asked_for(
    machine: Rig,
) -> None:
    """Two workers, each with a server; one yields always."""
    params = {"model": "tiny", "quantization": "none"}
    yielding, staying = (
        machine.client.submit("serve", **params, yield_policy=policy)["id"]
        for policy in ("always", "never")
    )
    for server in (yielding, staying):
        machine.wait_event(server, "takes requests", seconds=120)
    batch = machine.client.submit("generate", **params, questions=["How many?"], max_new_tokens=4)
    machine.wait_status(batch["id"], "succeeded", seconds=120)
    machine.wait_status(yielding, "paused")
    assert [one["outcome"] for one in machine.attempts(yielding)] == ["yielded"]
    assert machine.job(staying)["status"] == "running"
    machine.client.post(f"/v1/jobs/{staying}/cancel")
    machine.wait_status(staying, "cancelled")
    assert answered(machine, QUESTIONS[0]) > 0
    assert machine.job(yielding)["status"] == "running"
    machine.client.post(f"/v1/jobs/{yielding}/cancel")
    machine.wait_status(yielding, "cancelled")
