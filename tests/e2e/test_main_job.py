"""Every job type over HTTP with a real worker and a tiny random model."""

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.client import ApiError, JobEnded
from tests.e2e.conftest import Platform
from tests.e2e.shop import write_jsonl

TRAIN = {"model": "tiny", "dataset": "shop-pairs", "epochs": 2, "learning_rate": 1e-2}


def events(platform: Platform, job_id: str) -> list[str]:
    return [event["message"] for event in platform.client.pages(f"/v1/jobs/{job_id}/events")]


@pytest.fixture(scope="module")
def trained(platform: Platform, shop: dict[str, Any]) -> dict[str, Any]:
    job = platform.client.submit("train", adapter="shop-sql", **TRAIN)
    return platform.client.wait(job["id"])


@pytest.fixture(scope="module")
def merged(platform: Platform, trained: dict[str, Any]) -> dict[str, Any]:
    job = platform.client.submit("merge", adapter=trained["result"]["adapter"], name="shop-merged")
    return platform.client.wait(job["id"])


def test_prepare_splits_and_reports(shop: dict[str, Any]) -> None:
    assert shop["status"] == "ready"
    assert shop["kind"] == "sql"
    assert sum(shop["splits"].values()) == 60
    assert shop["report"]["rejected"] == 0
    assert shop["content_hash"]


def test_prepared_examples_are_read_in_pages(platform: Platform, shop: dict[str, Any]) -> None:
    page = platform.client.get("/v1/datasets/shop-pairs/examples", split="train", limit=5)
    assert [row["row"] for row in page["data"]] == [0, 1, 2, 3, 4]
    assert page["has_more"]
    rest = platform.client.get(
        "/v1/datasets/shop-pairs/examples", split="train", limit=1000, after=page["last_id"]
    )
    assert len(rest["data"]) == shop["splits"]["train"] - 5
    assert {"question", "answer"} <= set(page["data"][0])


def test_train_brings_one_adapter_version_with_its_lineage(
    platform: Platform, shop: dict[str, Any], trained: dict[str, Any]
) -> None:
    result = trained["result"]
    assert result["quantized_layers"] > 0
    version = platform.client.get(f"/v1/adapters/{result['adapter']}")
    assert version["base_model"] == "tiny"
    assert version["dataset"] == shop["id"]
    assert version["job"] == trained["id"]
    files = {artifact["path"] for artifact in version["artifacts"]}
    assert {"adapter/adapter_config.json", "adapter/adapter_model.safetensors"} <= files
    assert "adapter/prompt.json" in files


def test_train_leaves_curves_progress_and_a_log(
    platform: Platform, trained: dict[str, Any]
) -> None:
    points = list(platform.client.pages(f"/v1/jobs/{trained['id']}/metrics"))
    names = set().union(*(point["values"] for point in points))
    assert {"loss", "validation_loss", "learning_rate", "gradient_norm"} <= names
    assert trained["progress"]["step"] == trained["progress"]["total"]
    assert any("Checkpoint" in line for line in events(platform, trained["id"]))


def test_an_artifact_is_downloaded_as_it_was_recorded(
    platform: Platform, trained: dict[str, Any]
) -> None:
    artifact = next(a for a in trained["artifacts"] if a["path"].endswith(".safetensors"))
    key = platform.connection["api_key"]
    answer = httpx.get(
        f"{platform.connection['base_url']}/v1/artifacts/{artifact['id']}/content",
        headers={"authorization": f"Bearer {key}"},
    )
    assert len(answer.content) == artifact["bytes"]
    assert hashlib.sha256(answer.content).hexdigest() == artifact["sha256"]


def test_evaluate_judges_by_execution_and_keeps_each_row(
    platform: Platform, trained: dict[str, Any]
) -> None:
    job = platform.client.submit(
        "evaluate",
        model=trained["result"]["adapter"],
        dataset="shop-pairs",
        split="validation",
        max_new_tokens=24,
    )
    done = platform.client.wait(job["id"])
    share = done["result"]["execution_accuracy"]
    rows = [row["data"] for row in platform.client.pages(f"/v1/jobs/{job['id']}/results")]
    assert share["total"] == len(rows) > 0
    assert share["correct"] == sum(row["correct"] for row in rows)
    assert 0 <= share["low"] <= share["value"] <= share["high"] <= 1
    assert {"question", "gold", "prediction", "error_class"} <= set(rows[0])


def test_merge_brings_a_model_with_measured_parity(
    platform: Platform, merged: dict[str, Any]
) -> None:
    model = platform.client.get("/v1/models/shop-merged")
    assert model["kind"] == "merged"
    assert model["details"]["parity"]["max_logit_difference"] <= 1e-3


@pytest.mark.parametrize("kind", ["base", "adapter", "merged"])
def test_generate_answers_every_question_of_a_batch(
    platform: Platform, trained: dict[str, Any], merged: dict[str, Any], kind: str
) -> None:
    model = {"base": "tiny", "adapter": trained["result"]["adapter"], "merged": "shop-merged"}[kind]
    questions = [{"id": f"q{n}", "question": f"客户 {n}?"} for n in range(7)]
    job = platform.client.submit(
        "generate", model=model, database="shop", questions=questions, max_new_tokens=12
    )
    done = platform.client.wait(job["id"])
    rows = [row["data"] for row in platform.client.pages(f"/v1/jobs/{job['id']}/results")]
    assert [row["id"] for row in rows] == [f"q{n}" for n in range(7)]
    assert all("sql" in row and "executes" in row for row in rows)
    assert "results.jsonl" in {artifact["path"] for artifact in done["artifacts"]}


def test_models_lists_base_adapter_and_merged(
    platform: Platform, trained: dict[str, Any], merged: dict[str, Any]
) -> None:
    kinds = {model["id"]: model["kind"] for model in platform.client.get("/v1/models")["data"]}
    assert kinds["tiny"] == "base"
    assert kinds[trained["result"]["adapter"]] == "adapter"
    assert kinds["shop-merged"] == "merged"


def test_a_dataset_with_a_wrong_row_ends_invalid_naming_line_and_cure(
    platform: Platform, shop: dict[str, Any], tmp_path: Path
) -> None:
    rows = [
        {"question": "fine?", "sql": "select count(*) from customers"},
        {"question": "wrong table?", "sql": "select * from clients"},
    ]
    file = write_jsonl(tmp_path / "bad.jsonl", rows)
    made = platform.client.upload("/v1/datasets", file, name="bad", database="shop")
    with pytest.raises(JobEnded) as ended:
        platform.client.wait(made["job"])
    assert ended.value.job["error"]["class"] == "data"
    dataset = platform.client.get("/v1/datasets/bad")
    assert dataset["status"] == "invalid"
    problem = next(p for p in dataset["report"]["problems"] if p["severity"] == "error")
    assert problem["line"] == 2
    assert "clients" in problem["message"]
    with pytest.raises(ApiError, match="invalid"):
        platform.client.submit("train", model="tiny", dataset="bad")


def test_a_train_that_waits_for_a_dataset_fails_with_it(
    platform: Platform, shop: dict[str, Any], tmp_path: Path
) -> None:
    rows = [{"question": f"{n}?", "sql": f"select {n} from customers"} for n in range(2000)]
    rows.append({"question": "wrong table?", "sql": "select * from clients"})
    file = write_jsonl(tmp_path / "late.jsonl", rows)
    made = platform.client.upload("/v1/datasets", file, name="late", database="shop")
    waiting = platform.client.submit("train", model="tiny", dataset="late")
    assert waiting["depends_on"] == made["job"]
    with pytest.raises(JobEnded, match="waited for") as ended:
        platform.client.wait(waiting["id"])
    assert ended.value.job["error"]["class"] == "data"
    assert platform.client.get(f"/v1/jobs/{waiting['id']}/attempts")["data"] == []


def test_a_row_longer_than_max_length_is_named(platform: Platform, shop: dict[str, Any]) -> None:
    job = platform.client.submit("train", **TRAIN, max_length=16)
    with pytest.raises(JobEnded, match="line") as ended:
        platform.client.wait(job["id"])
    assert ended.value.job["error"]["class"] == "data"
