"""kill -9 in the middle of a training: the job succeeds all the same, once."""

import os
import signal
import time
from typing import Any

import psutil
import pytest

from tests.e2e.conftest import Platform, wait_until

LONG = {
    "model": "tiny",
    "dataset": "shop-pairs",
    "epochs": 60,
    "save_steps": 20,
    "early_stopping": False,
}


def start_and_reach_a_checkpoint(platform: Platform, adapter: str) -> str:
    job = platform.client.submit("train", adapter=adapter, **LONG)

    def saved() -> bool:
        page = platform.client.get(f"/v1/jobs/{job['id']}/events", limit=100)
        return any(event["message"].startswith("Checkpoint") for event in page["data"])

    wait_until(saved, seconds=90)
    assert platform.client.get(f"/v1/jobs/{job['id']}")["status"] == "running"
    return job["id"]


def outcome(platform: Platform, job_id: str, adapter: str) -> list[dict[str, Any]]:
    done = platform.client.wait(job_id)
    versions = platform.client.get(f"/v1/adapters/{adapter}")["versions"]
    assert [version["job"] for version in versions] == [job_id], "exactly one adapter version"
    assert done["result"]["adapter"] == f"{adapter}:1"
    return platform.client.get(f"/v1/jobs/{job_id}/attempts")["data"]


def test_a_killed_runner_costs_only_the_work_since_the_checkpoint(
    platform: Platform, shop: dict[str, Any]
) -> None:
    job_id = start_and_reach_a_checkpoint(platform, "killed-runner")
    platform.runner_of("gpu0").send_signal(signal.SIGKILL)
    attempts = outcome(platform, job_id, "killed-runner")
    assert [attempt["outcome"] for attempt in attempts] == ["lost", "succeeded"]
    assert attempts[1]["resumed_from_step"] >= 20


def test_a_killed_worker_takes_its_runner_along_and_the_job_goes_on(
    platform: Platform, shop: dict[str, Any]
) -> None:
    job_id = start_and_reach_a_checkpoint(platform, "killed-worker")
    runner = platform.runner_of("gpu0")
    os.kill(platform.pids["gpu0"], signal.SIGKILL)
    killed = time.monotonic()
    wait_until(lambda: not alive(runner), seconds=2)
    assert time.monotonic() - killed < 2
    attempts = outcome(platform, job_id, "killed-worker")
    assert [attempt["outcome"] for attempt in attempts] == ["lost", "succeeded"]
    assert attempts[1]["resumed_from_step"] >= 20


def test_a_running_job_is_cancelled(platform: Platform, shop: dict[str, Any]) -> None:
    job_id = start_and_reach_a_checkpoint(platform, "cancelled")
    platform.client.post(f"/v1/jobs/{job_id}/cancel")
    path = f"/v1/jobs/{job_id}"
    wait_until(lambda: platform.client.get(path)["status"] == "cancelled", seconds=40)
    names = [adapter["name"] for adapter in platform.client.get("/v1/adapters")["data"]]
    assert "cancelled" not in names


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_same_platform_goes_on_after_its_up_was_killed(
    model_dir, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from tests.e2e.conftest import running, upload_shop

    data_dir = tmp_path_factory.mktemp("second")
    with running(data_dir, model_dir) as first:
        upload_shop(first.client, tmp_path_factory.mktemp("shop2"))
        job_id = start_and_reach_a_checkpoint(first, "twice")
        parts = [psutil.Process(pid) for pid in first.pids.values()]
        families = [one for part in parts for one in [part, *part.children(recursive=True)]]
        first.process.kill()
        wait_until(lambda: not any(alive(one) for one in families), seconds=15)
    with running(data_dir, model_dir) as second:
        assert second.connection["api_key"] == first.connection["api_key"]
        attempts = outcome(second, job_id, "twice")
        assert [attempt["outcome"] for attempt in attempts] == ["lost", "succeeded"]
