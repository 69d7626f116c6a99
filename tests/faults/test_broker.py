"""Valkey forgets, dies, fills up: queued jobs are rung again, running ones notice nothing.

What is promised is consuming again within 60 seconds; a test measures from the moment at which the
broker is whole again to the claim of a job that was submitted while it was not.
"""

import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.e2e.conftest import upload_shop
from tests.faults.blackhole import blackhole
from tests.faults.rig import Rig, rig, wait_until
from tests.faults.steady import (
    CONSUMING_SECONDS,
    claimed_after,
    dead,
    prepare,
    untouched_training,
)
from tests.faults.trainings import freeze, holds, processes_of
from tests.servers import Server, free_port, killable_valkey


def unread(rig: Rig, broker: Server) -> str:
    """A job whose message lies in the broker, because its worker is frozen."""
    freeze(rig, processes_of(rig, "cpu0")[:1])
    time.sleep(1.5)  # until the broker has forgotten that the worker was waiting
    job_id = prepare(rig)
    wait_until(lambda: redis.Redis.from_url(broker.url).llen("cpu") == 1)
    return job_id


def forget(broker: Server) -> None:
    redis.Redis.from_url(broker.url).flushall()


def kill_and_start(broker: Server) -> None:
    broker.kill()
    time.sleep(3)
    broker.start()


def start_empty(broker: Server) -> None:
    broker.kill()
    shutil.rmtree(broker.folder / "appendonlydir")
    time.sleep(3)
    broker.start()


@pytest.mark.fault(8)
@pytest.mark.parametrize(
    "strike", [forget, start_empty, pytest.param(kill_and_start, marks=pytest.mark.chaos)]
)
def test_what_the_broker_loses_is_rung_again_and_a_running_job_notices_nothing(
    machine: Rig, broker: Server, strike: Callable[[Server], None]
) -> None:
    with untouched_training(machine):
        job_id = unread(machine, broker)
        strike(broker)
        whole = time.time()
        machine.signal("cpu0", signal.SIGCONT)
        assert claimed_after(machine, job_id, whole) < CONSUMING_SECONDS
        next_one = prepare(machine)
        assert claimed_after(machine, next_one, time.time()) < CONSUMING_SECONDS
    assert dead(machine) == []


@pytest.mark.chaos
@pytest.mark.fault(8)
def test_a_full_broker_takes_no_message_and_ends_no_worker(machine: Rig, broker: Server) -> None:
    client = redis.Redis.from_url(broker.url)
    with untouched_training(machine):
        taken_while_full = unread(machine, broker)
        client.config_set("maxmemory", 1)
        # Delivered by a broker that takes no write: kombu's own bookkeeping would end the worker.
        machine.signal("cpu0", signal.SIGCONT)
        machine.wait_status(taken_while_full, "succeeded", seconds=120)
        waiting = prepare(machine)
        machine.kill("keeper")
        machine.start("keeper")  # and one that connects to a full broker
        assert holds(lambda: machine.job(waiting)["status"] == "queued", 6)
        client.config_set("maxmemory", 0)
        assert claimed_after(machine, waiting, time.time()) < CONSUMING_SECONDS
    assert dead(machine) == []


@pytest.mark.fault(8)
@pytest.mark.chaos
def test_a_broker_that_is_away_for_half_a_minute_is_found_again(
    machine: Rig, broker: Server
) -> None:
    with untouched_training(machine):
        broker.kill()
        job_id = prepare(machine)
        time.sleep(30)
        broker.start()
        assert claimed_after(machine, job_id, time.time()) < CONSUMING_SECONDS
    assert dead(machine) == []


@pytest.mark.fault(8)
@pytest.mark.chaos
def test_processes_that_start_without_a_broker_work_once_it_is_there(
    machine: Rig, broker: Server
) -> None:
    broker.kill()
    names = ("keeper", "beat", "cpu0", "api")
    for name in names:
        machine.kill(name)
    machine.start(*names)
    time.sleep(30)
    assert dead(machine) == []
    job_id = prepare(machine)
    broker.start()
    assert claimed_after(machine, job_id, time.time()) < CONSUMING_SECONDS


@pytest.mark.fault(8)
@pytest.mark.chaos
@pytest.mark.parametrize("fault", ["silent", "dropped"])
def test_a_broker_that_says_nothing_holds_up_no_submit_and_is_found_again(
    model_dir: Path, tmp_path: Path, fault: str
) -> None:
    port = free_port()
    with (
        killable_valkey(port=port),
        blackhole(port=port) as between,
        rig(
            tmp_path / "rig",
            broker_url=f"redis://127.0.0.1:{between.port}/0",
            model_dir=model_dir,
            lease_seconds="20",
        ) as made,
    ):
        upload_shop(made.client, tmp_path)
        with untouched_training(made):
            getattr(between, fault)()
            begun = time.monotonic()
            job_id = prepare(made)
            assert time.monotonic() - begun < 30, "a submit waits for a broker that is silent"
            time.sleep(30)
            assert made.job(job_id)["status"] == "queued"
            between.whole()
            assert claimed_after(made, job_id, time.time()) < CONSUMING_SECONDS
            next_one = prepare(made)
            assert claimed_after(made, next_one, time.time()) < CONSUMING_SECONDS
        assert dead(made) == []
