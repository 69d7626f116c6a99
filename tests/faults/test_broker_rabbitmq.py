"""The same platform on RabbitMQ: restarts and acknowledgement timeouts bring no second claim.

The server is of Debian's packages (`make chaos-setup`) and a process of these tests; without them
the tests fail. Its `consumer_timeout` is shorter than any training here.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from kombu import Connection

from cli.platform.leash import dies_with
from core import queue
from core.queue import celery_app
from tests.e2e.conftest import upload_shop
from tests.faults.blackhole import Blackhole, blackhole
from tests.faults.rig import Rig, rig, wait_until
from tests.faults.steady import (
    CONSUMING_SECONDS,
    cancel,
    claimed_after,
    dead,
    prepare,
    training,
    untouched_training,
)
from tests.faults.trainings import LONG, QUICK, holds, outcomes
from tests.platform import environment
from tests.servers import Server, free_port, rabbitmq_server

pytestmark = pytest.mark.chaos

CONSUMER_TIMEOUT = 20


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[Server]:
    # How long an ack takes is looked at each minute by default.
    settings = f"consumer_timeout = {CONSUMER_TIMEOUT}000"
    with rabbitmq_server(settings=settings, internals="{channel_tick_interval, 1000}") as server:
        yield server


@pytest.fixture(scope="module")
def between(rabbitmq: Server) -> Iterator[Blackhole]:
    with blackhole(port=port_of(rabbitmq.url)) as made:
        yield made


@pytest.fixture(scope="module")
def hare(
    rabbitmq: Server,
    between: Blackhole,
    model_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Rig]:
    """A platform that reaches RabbitMQ through a proxy which can turn bad."""
    folder = tmp_path_factory.mktemp("hare")
    url = rabbitmq.url.replace(str(port_of(rabbitmq.url)), str(between.port))
    with rig(folder / "rig", broker_url=url, model_dir=model_dir, lease_seconds="20") as made:
        upload_shop(made.client, folder)
        yield made


def port_of(url: str) -> int:
    return int(re.search(r":(\d+)/", url)[1])


def waiting_messages(server: Server, name: str) -> int:
    """Messages in a queue that no worker has been handed."""
    with Connection(server.url) as connection:
        return connection.default_channel.queue_declare(name, passive=True).message_count


@pytest.mark.fault(9)
def test_a_restart_in_mid_job_claims_nothing_twice(hare: Rig, rabbitmq: Server) -> None:
    with untouched_training(hare):
        rabbitmq.kill()
        waiting = prepare(hare)
        time.sleep(3)
        rabbitmq.start()
        assert claimed_after(hare, waiting, time.time()) < CONSUMING_SECONDS
        next_one = prepare(hare)
        assert claimed_after(hare, next_one, time.time()) < CONSUMING_SECONDS
    assert dead(hare) == []


@pytest.mark.fault(9)
def test_a_job_longer_than_the_brokers_patience_runs_once_and_the_worker_goes_on(
    hare: Rig,
) -> None:
    begun = time.monotonic()
    with untouched_training(hare) as job_id:
        received = f"Task train[{job_id}-1] received"
        wait_until(
            lambda: hare.log("gpu0", end=0).count(received) >= 3,
            seconds=6 * CONSUMER_TIMEOUT,
            what=lambda: hare.log("gpu0"),
        )
        assert "PRECONDITION_FAILED" in hare.log("gpu0", end=0)
    assert time.monotonic() - begun > 2 * CONSUMER_TIMEOUT
    assert dead(hare) == []
    done = hare.client.submit("train", **QUICK)["id"]
    hare.wait_status(done, "succeeded", seconds=150)
    assert outcomes(hare, job_id) == ["cancelled"]
    assert outcomes(hare, done) == ["succeeded"]


@pytest.mark.fault(9)
def test_the_broker_never_holds_more_messages_than_there_are_free_slots(
    hare: Rig, rabbitmq: Server
) -> None:
    running = training(hare)
    queued = [hare.client.submit("train", **QUICK)["id"] for _ in range(4)]
    assert holds(lambda: waiting_messages(rabbitmq, "gpu") == 0, 8)
    cancel(hare, running)
    for job_id in queued:
        hare.wait_status(job_id, "succeeded", seconds=240)
        assert waiting_messages(rabbitmq, "gpu") <= 1
        assert outcomes(hare, job_id) == ["succeeded"]


@pytest.mark.fault(9)
@pytest.mark.parametrize("fault", ["silent", "dropped"])
def test_a_broker_that_says_nothing_holds_up_no_submit_and_is_found_again(
    hare: Rig, between: Blackhole, fault: str
) -> None:
    with untouched_training(hare):
        getattr(between, fault)()
        begun = time.monotonic()
        job_id = prepare(hare)
        assert time.monotonic() - begun < 30, "a submit waits for a broker that is silent"
        time.sleep(30)
        between.whole()
        assert claimed_after(hare, job_id, time.time()) < CONSUMING_SECONDS
        next_one = prepare(hare)
        assert claimed_after(hare, next_one, time.time()) < CONSUMING_SECONDS
    assert dead(hare) == []


@pytest.mark.fault(9)
def test_processes_that_start_without_a_broker_work_once_it_is_there(
    hare: Rig, rabbitmq: Server
) -> None:
    rabbitmq.stop()
    names = ("keeper", "beat", "cpu0", "api")
    for name in names:
        hare.kill(name)
    hare.start(*names)
    time.sleep(30)
    assert dead(hare) == []
    job_id = prepare(hare)
    rabbitmq.start()
    assert claimed_after(hare, job_id, time.time()) < CONSUMING_SECONDS


def test_a_ring_is_confirmed_by_the_broker(rabbitmq: Server) -> None:
    with environment(broker_url=rabbitmq.url):
        queue.ping()
        assert queue.ring("job_1", number=1, queue="nobody", job_type="train")
        assert waiting_messages(rabbitmq, "nobody") == 1
        rabbitmq.kill()
        rabbitmq.start()
        assert waiting_messages(rabbitmq, "nobody") == 1, "a message outlives a restart"
        # The pool's connection is to the broker that was killed.
        assert queue.ring("job_2", number=1, queue="nobody", job_type="train")
        celery_app().close()


def test_flower_shows_the_true_end_of_a_job_whose_message_came_again(
    hare: Rig, rabbitmq: Server
) -> None:
    with flower(hare) as url:
        job_id = hare.client.submit("train", **(LONG | {"epochs": 900}))["id"]
        hare.wait_status(job_id, "running", seconds=120)
        wait_until(lambda: started(url, job_id), seconds=60)
        [task] = started(url, job_id)  # on a busy machine it has been rung for twice
        rabbitmq.kill()
        rabbitmq.start()
        again = f"Task train[{task}] received"
        wait_until(lambda: hare.log("gpu0", end=0).count(again) >= 2, seconds=90)
        cancel(hare, job_id)
        wait_until(lambda: tasks(url)[task]["state"] == "FAILURE", seconds=60)
        # The copy is looked at now that the worker is free, and says nothing.
        assert holds(lambda: tasks(url)[task]["state"] == "FAILURE", 5)
        assert "JobCancelled" in tasks(url)[task]["exception"]


@contextmanager
def flower(hare: Rig) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "celery", "-A", "workers.app", "flower"]
    command += ["--address=127.0.0.1", f"--port={port}"]
    with (hare.folder / "flower.log").open("ab") as output:
        process = subprocess.Popen(
            command,
            env=hare.environment() | {"FLOWER_UNAUTHENTICATED_API": "true"},
            cwd=hare.folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=dies_with(os.getpid()),
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(
            lambda: answers(f"{url}/healthcheck"), seconds=60, what=lambda: hare.log("flower")
        )
        time.sleep(2)  # until its consumer of events is bound
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.HTTPError:
        return False


def tasks(url: str) -> dict[str, dict]:
    """What Flower shows, by a task's id: the job's and the number of its ring."""
    return httpx.get(f"{url}/api/tasks", timeout=30).json()


def started(url: str, job_id: str) -> list[str]:
    of_job = {name: task for name, task in tasks(url).items() if name.startswith(f"{job_id}-")}
    return [name for name, task in of_job.items() if task["state"] == "STARTED"]
