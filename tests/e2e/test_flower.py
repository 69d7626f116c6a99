"""Flower shows every job with its type, id, queue and true outcome; the database is the record."""

import os
import signal
from typing import Any

import httpx
import psutil
import pytest
from celery import Celery

from cli.client import JobEnded
from tests.e2e.conftest import Platform, wait_until


def flower(platform: Platform, path: str, **query: str) -> httpx.Response:
    auth = (platform.connection["flower_user"], platform.connection["flower_password"])
    return httpx.get(f"{platform.connection['flower_url']}{path}", auth=auth, params=query)


def task(platform: Platform, job_id: str) -> dict[str, Any]:
    tasks = flower(platform, "/api/tasks").json()
    return next(iter(t for name, t in tasks.items() if name.startswith(f"{job_id}-")), {})


def wait_for_state(platform: Platform, job_id: str, state: str) -> dict[str, Any]:
    wait_until(lambda: task(platform, job_id).get("state") == state, seconds=30)
    return task(platform, job_id)


def test_a_success_is_shown_with_its_type_queue_and_runtime(
    platform: Platform, shop: dict[str, Any]
) -> None:
    shown = wait_for_state(platform, shop["job"], "SUCCESS")
    assert shown["name"] == "prepare"
    assert shown["uuid"] == f"{shop['job']}-1"
    assert shown["routing_key"] == "cpu"
    assert shown["runtime"] > 0
    assert "succeeded" in shown["result"]


def test_a_failure_is_shown_as_failed(platform: Platform, shop: dict[str, Any]) -> None:
    job = platform.client.submit("train", model="tiny", dataset="shop-pairs", max_length=16)
    with pytest.raises(JobEnded):
        platform.client.wait(job["id"])
    shown = wait_for_state(platform, job["id"], "FAILURE")
    assert "JobFailed" in shown["exception"]


def test_a_cancel_is_shown_as_cancelled(platform: Platform, shop: dict[str, Any]) -> None:
    job = platform.client.submit("train", model="tiny", dataset="shop-pairs", epochs=500)
    path = f"/v1/jobs/{job['id']}"
    wait_until(lambda: (platform.client.get(path)["progress"] or {}).get("step", 0) > 1)
    platform.client.post(f"{path}/cancel")
    shown = wait_for_state(platform, job["id"], "FAILURE")
    assert "JobCancelled" in shown["exception"]


def test_a_second_message_for_an_ended_job_is_shown_as_not_claimed(
    platform: Platform, shop: dict[str, Any]
) -> None:
    worker = psutil.Process(platform.pids["cpu0"])
    broker = Celery(broker=worker.environ()["TUNEYARD_BROKER_URL"])
    broker.send_task("prepare", args=[shop["job"]], task_id=f"{shop['job']}-99", queue="cpu")

    def shown() -> dict[str, Any]:
        return flower(platform, "/api/tasks").json().get(f"{shop['job']}-99", {})

    wait_until(lambda: shown().get("state") == "SUCCESS", seconds=30)
    assert "not claimed" in shown()["result"]
    assert platform.client.get(f"/v1/jobs/{shop['job']}")["status"] == "succeeded"


def test_what_flower_shows_outlives_a_killed_worker(
    platform: Platform, shop: dict[str, Any]
) -> None:
    before = platform.pids["gpu0"]
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: platform.pids["gpu0"] != before, seconds=30)
    job = platform.client.submit("train", model="tiny", dataset="shop-pairs", epochs=1)
    platform.client.wait(job["id"])
    assert wait_for_state(platform, job["id"], "SUCCESS")["name"] == "train"
    assert task(platform, shop["job"])["state"] == "SUCCESS", "what was there is there still"


def test_flower_wants_the_password_and_is_read_only(platform: Platform) -> None:
    url = platform.connection["flower_url"]
    assert httpx.get(f"{url}/api/tasks").status_code == 401
    assert httpx.get(f"{url}/workers").status_code == 401
    auth = (platform.connection["flower_user"], platform.connection["flower_password"])
    refused = httpx.post(f"{url}/api/worker/shutdown/nobody", auth=auth)
    assert refused.status_code in (403, 405)
