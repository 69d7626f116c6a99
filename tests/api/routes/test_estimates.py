"""What a training would cost, over HTTP; that the figures are right is shown in core."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from core.accounts.service import ensure_project
from core.datasets.models import Dataset
from core.db import get_database
from core.jobs.models import Attempt
from core.storage import get_storage
from tests.api.belongings import own_one_of_each
from tests.core.jobs.jobs import add_job, add_worker

ASKED = {"type": "train", "params": {"model": "tiny", "dataset": "pairs", "epochs": 3}}
RESULT = {
    "tokens_per_second": 100.0,
    "examples_per_second": 2.0,
    "train_tokens": 5000,
    "train_seconds": 150.0,
    "train_examples": 100,
    "validation_examples": 10,
    "epochs": 3.0,
    "resolved": {
        "quantization": "8bit",
        "precision": "fp32",
        "prompt": "bare",
        "max_length": 2048,
        "batch_size": 16,
        "save_steps": None,
        "lora": {"layers": 1},
    },
}


@pytest.fixture(autouse=True)
def ids(client: TestClient, tmp_path: Path) -> dict[str, str]:
    """A dataset of 100 rows, of which the API knows no more than its description."""
    (tmp_path / "info").write_text('{"kind": "sql", "dialect": "sqlite"}')
    get_storage().put(tmp_path / "info", "s/dataset.json")
    with get_database().transaction() as session:
        ids = own_one_of_each(session, ensure_project(session, "ours"))
        session.get_one(Dataset, "ds_1").splits = {"train": 100, "validation": 10}
        add_worker(session, "gpu0@a")
        return ids


def remember(project: str) -> str:
    """A finished training of that project on the worker."""
    with get_database().transaction() as session:
        job = add_job(
            session,
            ensure_project(session, project).id,
            type="train",
            status="succeeded",
            params={"model": "tiny", "dataset": "pairs"},
            result=RESULT,
            token=1,
        )
        times = {"started_at": 0.0, "finished_at": 170.0, "outcome": "succeeded"}
        session.add(Attempt(job_id=job.id, token=1, worker_id="gpu0@a", **times))
        return job.id


def test_steps_are_known_at_once_and_what_is_not_known_is_null(client: TestClient) -> None:
    answer = client.post("/v1/estimates", json=ASKED)
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert (shown["steps"], shown["epochs"], shown["train_examples"]) == (21, 3, 100)
    assert shown["tokens"] is None and shown["time"] is None and shown["worker"] is None
    [site] = shown["workers"]
    assert (site["worker"], site["fits"]) == ("gpu0@a", False)
    assert "base model" in site["reason"]
    assert shown["queue"]["ready"] > 1 and not shown["queue"]["starts_at_once"]


def test_a_finished_training_tells_tokens_and_time(client: TestClient) -> None:
    job = remember("ours")
    shown = client.post("/v1/estimates", json=ASKED).json()
    assert shown["tokens"] == {
        "basis": "measured",
        "per_epoch": 5000,
        "trained": 15000,
        "longest_example": None,
    }
    time = shown["workers"][0]["time"]
    assert (time["basis"], time["job"], time["seconds"]) == ("measured", job, 170.0)


def test_another_projects_training_is_not_named_nor_are_its_tokens(client: TestClient) -> None:
    remember("theirs")
    shown = client.post("/v1/estimates", json=ASKED).json()
    assert shown["tokens"] is None


def test_nothing_is_queued(client: TestClient) -> None:
    before = len(client.get("/v1/jobs").json()["data"])
    client.post("/v1/estimates", json=ASKED)
    assert len(client.get("/v1/jobs").json()["data"]) == before


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"params": {"model": "tiny", "dataset": "nobody"}}, 404, "dataset"),
        ({"params": {"model": "nobody", "dataset": "pairs"}}, 400, "model"),
        ({"params": {"model": "tiny"}}, 400, "params.dataset"),
        ({"type": "merge", "params": {"adapter": "theirs:1"}}, 400, "type"),
        ({"params": {"model": "tiny", "dataset": "pairs", "prompt": "schema"}}, 400, "prompt"),
    ],
)
def test_what_makes_no_training_is_refused(
    client: TestClient, body: dict, status: int, param: str
) -> None:
    answer = client.post("/v1/estimates", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
