"""Estimates held against a real worker's training, and an alias that moves over its evaluation."""

import io
import zipfile
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Platform

TRAIN = {
    "model": "tiny",
    "dataset": "shop-pairs",
    "adapter": "registry",
    "learning_rate": 1e-2,
    "early_stopping": False,
}


def estimate(platform: Platform, **params: Any) -> dict[str, Any]:
    body = {"type": "train", "params": TRAIN | params}
    return platform.client.post("/v1/estimates", body)


def train(platform: Platform, **params: Any) -> dict[str, Any]:
    return platform.client.wait(platform.client.submit("train", **TRAIN, **params)["id"])


def seconds_of(platform: Platform, job: dict[str, Any]) -> float:
    [attempt] = platform.client.get(f"/v1/jobs/{job['id']}/attempts")["data"]
    return attempt["finished_at"] - attempt["started_at"]


@pytest.fixture(scope="module")
def trained(platform: Platform, shop: dict[str, Any]) -> dict[str, Any]:
    return train(platform, epochs=2)


def test_steps_and_tokens_are_exactly_what_then_happens(
    platform: Platform, shop: dict[str, Any], trained: dict[str, Any]
) -> None:
    told = estimate(platform, epochs=2)
    assert told["steps"] == trained["result"]["steps"]
    assert told["tokens"]["basis"] == "counted"
    assert told["tokens"]["per_epoch"] == trained["result"]["train_tokens"]
    site = next(one for one in told["workers"] if one["worker"] == told["worker"])
    assert site["fits"] and site["needed_bytes"] < site["memory_bytes"]
    assert site["micro_batch"] == trained["result"]["resolved"]["micro_batch"]
    assert (told["time"]["basis"], told["time"]["job"]) == ("measured", trained["id"])


@pytest.mark.slow
def test_time_is_within_30_percent_of_what_then_happens(
    platform: Platform, shop: dict[str, Any]
) -> None:
    """On a quiet machine: one training is known, another of thrice its epochs is told."""
    train(platform, epochs=20)
    told = estimate(platform, epochs=60)["time"]["seconds"]
    assert told == pytest.approx(seconds_of(platform, train(platform, epochs=60)), rel=0.3)


def test_an_alias_moves_over_a_real_evaluation_and_its_version_is_downloaded(
    platform: Platform, trained: dict[str, Any]
) -> None:
    client, address = platform.client, trained["result"]["adapter"]
    body = {"model": address, "dataset": "shop-pairs", "split": "validation"}
    evaluation = client.post("/v1/evaluations", body | {"max_new_tokens": 8})
    client.wait(evaluation["id"])
    shown = client.get(f"/v1/evaluations/{evaluation['id']}")
    bar = {"metric": "valid_sql", "at_least": shown["summary"]["valid_sql"], "split": "validation"}
    url = "/v1/adapters/registry/aliases/production"
    answer = httpx.put(
        platform.connection["base_url"] + url,
        headers={"authorization": f"Bearer {platform.connection['api_key']}"},
        json={"version": address, "bar": bar},
    )
    assert answer.status_code == 200, answer.text
    assert client.get(url)["version"] == address
    assert client.get(f"{url}/history")["data"][0]["evaluation"] == evaluation["id"]
    lineage = client.get(f"/v1/adapters/{address}/lineage")
    assert [one["id"] for one in lineage["evaluations"]] == [evaluation["id"]]
    content = httpx.get(
        f"{platform.connection['base_url']}/v1/adapters/{address}/download",
        headers={"authorization": f"Bearer {platform.connection['api_key']}"},
    ).content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        wanted = {"adapter_config.json", "adapter_model.safetensors", "prompt.json", "card.json"}
        assert wanted <= set(archive.namelist())
