"""The keeper of a running platform deletes what is nobody's, and sweeps on while it does."""

import os
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.e2e.shop import pairs, write_jsonl
from tests.faults.rig import rig, wait_until

SECOND = 1 / (24 * 3600)


@pytest.mark.chaos
def test_the_keeper_deletes_an_orphan_and_says_when_it_did(
    tmp_path: Path, model_dir: Path, valkey_url: str
) -> None:
    settings = {"retain_seconds": "2", "retain_orphans_days": str(3600 * SECOND)}
    folder = tmp_path / "rig"
    with rig(
        folder, broker_url=valkey_url, model_dir=model_dir, workers=("cpu0",), **settings
    ) as platform:
        file = write_jsonl(tmp_path / "pairs.jsonl", pairs(30))
        made = platform.client.upload("/v1/datasets", file, name="kept")
        platform.client.wait(made["job"])
        storage = folder / "data" / "storage"
        [project] = (storage / "projects").iterdir()
        orphan = project / "jobs" / made["job"] / "attempt-7" / "checkpoints" / "step-1" / "a"
        orphan.parent.mkdir(parents=True)
        orphan.touch()
        for path in storage.rglob("*"):  # all that is there is old, its own files too
            os.utime(path, (0, 0))
        before = {path for path in storage.rglob("*") if path.is_file()} - {orphan}

        wait_until(lambda: not orphan.exists(), seconds=60, what=lambda: platform.log("keeper"))

        def lags() -> dict[str, float]:
            headers = {"authorization": f"Bearer {platform.key}"}
            text = httpx.get(f"{platform.base_url}/metrics", headers=headers).text
            return {family.name: family.samples[0].value for family in parse(text)}

        wait_until(lambda: lags().get("tuneyard_retain_lag_seconds", 60) < 30)
        assert lags()["tuneyard_sweep_lag_seconds"] < 30
        assert {path for path in storage.rglob("*") if path.is_file()} == before
        assert "attempt-7/checkpoints/step-1/a" in platform.log("keeper", end=0), "it is logged"
        assert platform.client.get("/v1/datasets/kept/examples")["data"], "and it can be read"
