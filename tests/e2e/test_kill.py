"""kill -9 of `up` in the middle of a training: the next one on the same folder goes on, once.

What a killed runner, worker or server costs is shown in `tests/faults`.
"""

from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import Platform, running, upload_shop, wait_until

LONG = {
    "model": "tiny",
    "dataset": "shop-pairs",
    "epochs": 60,
    "save_steps": 20,
    "early_stopping": False,
}


def test_the_same_platform_goes_on_after_its_up_was_killed(
    model_dir: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with running(tmp_path, model_dir) as first:
        upload_shop(first.client, tmp_path_factory.mktemp("shop"))
        job_id = start_and_reach_a_checkpoint(first)
        parts = [psutil.Process(pid) for pid in first.pids.values()]
        families = [one for part in parts for one in [part, *part.children(recursive=True)]]
        first.process.kill()
        wait_until(lambda: not any(alive(one) for one in families), seconds=15)
    with running(tmp_path, model_dir) as second:
        assert second.connection["api_key"] == first.connection["api_key"]
        assert second.client.wait(job_id)["result"]["adapter"] == "twice:1"
        versions = second.client.get("/v1/adapters/twice")["versions"]
        assert [version["job"] for version in versions] == [job_id], "exactly one version"
        before, after = second.client.get(f"/v1/jobs/{job_id}/attempts")["data"]
        assert [before["outcome"], after["outcome"]] == ["lost", "succeeded"]
        assert after["resumed_from_step"] >= LONG["save_steps"]


def start_and_reach_a_checkpoint(platform: Platform) -> str:
    job = platform.client.submit("train", adapter="twice", **LONG)

    def saved() -> bool:
        page = platform.client.get(f"/v1/jobs/{job['id']}/events", limit=100)
        return any(event["message"].startswith("Checkpoint") for event in page["data"])

    wait_until(saved, seconds=90)
    assert platform.client.get(f"/v1/jobs/{job['id']}")["status"] == "running"
    return job["id"]


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
