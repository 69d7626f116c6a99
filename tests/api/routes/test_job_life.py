"""Pause, resume, retry, time limits, checkpoints and `continue_from`, as a client sees them."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from core.accounts.service import ensure_project
from core.adapters.service import add_version
from core.basemodels.service import record_base
from core.datasets.models import Dataset
from core.db import get_database
from core.errors import JobFailure
from core.jobs import records, service
from core.storage import StoredFile
from tests.api.conftest import TINY
from tests.api.routes.test_datasets import GOOD, upload


def submit(client: TestClient, type: str = "generate", **params: Any) -> dict[str, Any]:
    params = params or {"model": "tiny", "questions": ["how many?"]}
    answer = client.post("/v1/jobs", json={"type": type, "params": params})
    assert answer.status_code == 202, answer.text
    return answer.json()


def act(client: TestClient, job_id: str, verb: str, status: int = 200) -> dict[str, Any]:
    answer = client.post(f"/v1/jobs/{job_id}/{verb}")
    assert answer.status_code == status, answer.text
    return answer.json()


def checkpoints(client: TestClient, job_id: str) -> list[dict[str, Any]]:
    return client.get(f"/v1/jobs/{job_id}/checkpoints").json()["data"]


@pytest.fixture
def dataset(client: TestClient) -> dict[str, Any]:
    """A dataset that is ready, though nobody has prepared it."""
    made = upload(client, GOOD, name="pairs").json()
    with get_database().transaction() as session:
        row = session.get_one(Dataset, made["id"])
        row.status, row.splits, row.kind = "ready", {"train": 8, "test": 2}, "sql"
    return made


def work(job_id: str, *steps: int, failure: JobFailure | None = None) -> None:
    """An attempt that leaves checkpoints, and ends if it fails."""
    with get_database().transaction() as session:
        held = service.claim(session, job_id, "gpu0@a")
        for step in steps:
            records.add_checkpoint(
                session,
                held,
                step=step,
                storage_key=f"{job_id}/{step}",
                manifest=[StoredFile("a", 7, "0")],
                metrics={"validation_loss": 1 / step},
            )
        if failure is not None:
            service.fail(session, held, failure)


def test_a_job_is_paused_and_resumed(client: TestClient) -> None:
    job_id = submit(client)["id"]
    assert act(client, job_id, "pause")["status"] == "paused"
    assert act(client, job_id, "pause", 400)["error"]["code"] == "job_not_pausable"
    assert act(client, job_id, "resume")["status"] == "queued"
    assert act(client, job_id, "resume", 400)["error"]["code"] == "job_not_resumable"
    work(job_id)
    asked = act(client, job_id, "pause")
    assert (asked["status"], asked["pause_requested"]) == ("running", True)
    refused = act(client, job_id, "resume", 400)["error"]
    assert "It is being paused" in refused["message"]


def test_a_failed_job_is_retried_with_what_it_left(client: TestClient) -> None:
    job_id = submit(client)["id"]
    assert act(client, job_id, "retry", 400)["error"]["code"] == "job_not_retryable"
    work(job_id, 5, 10, failure=JobFailure("timeout", "too long"))
    new = act(client, job_id, "retry", 202)
    assert (new["retry_of"], new["status"], new["attempt"]) == (job_id, "queued", 0)
    assert new["params"] == client.get(f"/v1/jobs/{job_id}").json()["params"]
    carried = checkpoints(client, new["id"])
    assert [(one["step"], one["bytes"], one["attempt"]) for one in carried] == [
        (10, 7, 0),
        (5, 7, 0),
    ]
    assert carried[0]["metrics"] == {"validation_loss": 0.1}
    assert carried[0]["rejected"] is None


def test_an_infra_failure_says_when_it_is_tried_again(client: TestClient) -> None:
    job_id = submit(client)["id"]
    work(job_id, failure=JobFailure("infra", "The storage does not answer."))
    job = client.get(f"/v1/jobs/{job_id}").json()
    assert (job["status"], job["error"]) == ("queued", None)
    assert job["run_after"] >= job["created_at"]
    [attempt] = client.get(f"/v1/jobs/{job_id}/attempts").json()["data"]
    assert (attempt["outcome"], attempt["failure"]) == ("failed", "infra")
    events = client.get(f"/v1/jobs/{job_id}/events").json()["data"]
    assert "It is tried again in" in events[0]["message"]


@pytest.mark.parametrize(
    ("limit", "status"), [(90, 202), (0, 400), (-1, 400), (1e9, 400), ("x", 400)]
)
def test_a_time_limit_is_the_jobs_own(client: TestClient, limit: object, status: int) -> None:
    params = {"model": "tiny", "questions": ["how many?"]}
    body = {"type": "generate", "params": params, "time_limit_seconds": limit}
    answer = client.post("/v1/jobs", json=body)
    assert answer.status_code == status
    if status == 202:
        assert answer.json()["time_limit_seconds"] == 90
    assert submit(client)["time_limit_seconds"] == 24 * 3600


# -- continue_from --------------------------------------------------------------------------------


@pytest.fixture
def run(client: TestClient, dataset: dict[str, Any]) -> dict[str, Any]:
    """A training that has left a checkpoint at step 20."""
    job = submit(client, "train", model="tiny", dataset="pairs", epochs=3)
    work(job["id"], 20, failure=JobFailure("timeout", "too long"))
    return job


def try_train(client: TestClient, **params: Any) -> Any:
    body = {"type": "train", "params": {"model": "tiny", "dataset": "pairs"} | params}
    return client.post("/v1/jobs", json=body)


def test_a_training_goes_on_from_a_checkpoint(client: TestClient, run: dict[str, Any]) -> None:
    [checkpoint] = checkpoints(client, run["id"])
    # By the dataset's id instead of its name, under another name, saved more often: the same run.
    dataset = client.get("/v1/datasets").json()["data"][0]["id"]
    answer = try_train(
        client,
        epochs=3,
        continue_from=checkpoint["id"],
        adapter="other",
        dataset=dataset,
        save_steps=5,
    )
    assert answer.status_code == 202, answer.text
    [own] = checkpoints(client, answer.json()["id"])
    assert (own["step"], own["bytes"]) == (20, 7)
    assert own["id"] != checkpoint["id"]
    # Its retry has the checkpoint once, not twice.
    work(answer.json()["id"], failure=JobFailure("timeout", "too long"))
    again = act(client, answer.json()["id"], "retry", 202)
    assert [one["step"] for one in checkpoints(client, again["id"])] == [20]


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"epochs": 4}, "epochs"),
        ({"epochs": 3, "lora": {"r": 4}, "seed": 1}, "lora, seed"),
        ({"epochs": 3, "dataset": "others"}, "dataset"),
    ],
)
def test_another_run_cannot_go_on_from_a_checkpoint(
    client: TestClient, run: dict[str, Any], params: dict[str, Any], named: str
) -> None:
    other = upload(client, GOOD, name="others").json()
    with get_database().transaction() as session:
        session.get_one(Dataset, other["id"]).status = "ready"
    [checkpoint] = checkpoints(client, run["id"])
    answer = try_train(client, continue_from=checkpoint["id"], **params)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == "continue_from"
    assert f"of that these differ: {named}." in error["message"]


def test_a_training_starts_from_an_adapter_on_the_same_base(
    client: TestClient, run: dict[str, Any]
) -> None:
    with get_database().transaction() as session:
        record_base(session, TINY | {"name": "other"})
        add_version(
            session,
            ensure_project(session, "ours").id,
            "shop",
            base_model="tiny",
            dataset_id=client.get("/v1/datasets").json()["data"][0]["id"],
            job_id=run["id"],
            storage_key="adapters/shop",
            bytes=1,
            settings={},
            metrics={},
        )
    answer = try_train(client, continue_from="shop:1")
    assert answer.status_code == 202, answer.text
    assert checkpoints(client, answer.json()["id"]) == []
    with get_database().transaction() as session:
        held = service.claim(session, answer.json()["id"], "gpu0@a")
        job = service.get(session, held.project_id, held.job_id)
        inputs = service.job_type("train").brief(session, job).inputs
    assert inputs["continue_from"].key == "adapters/shop"
    refused = try_train(client, continue_from="shop:1", model="other").json()["error"]
    assert refused["param"] == "continue_from" and "sits on the base" in refused["message"]


@pytest.mark.parametrize("start", ["ckpt_nothing", "shop:9", "shop", "", ":", "ckpt_" + "x" * 500])
def test_a_start_that_is_not_there_is_not_found(
    client: TestClient, dataset: dict[str, Any], start: str
) -> None:
    answer = try_train(client, continue_from=start)
    assert answer.status_code == 404, answer.text
    assert answer.json()["error"]["param"] == "continue_from"


def test_another_projects_checkpoint_is_not_found(
    client: TestClient, stranger: TestClient, run: dict[str, Any]
) -> None:
    [checkpoint] = checkpoints(client, run["id"])
    theirs = upload(stranger, GOOD, name="pairs").json()
    with get_database().transaction() as session:
        session.get_one(Dataset, theirs["id"]).status = "ready"
    answer = try_train(stranger, epochs=3, continue_from=checkpoint["id"])
    assert answer.status_code == 404


def test_a_rejected_checkpoint_is_refused(client: TestClient, dataset: dict[str, Any]) -> None:
    job = submit(client, "train", model="tiny", dataset="pairs")
    with get_database().transaction() as session:
        held = service.claim(session, job["id"], "gpu0@a")
        records.add_checkpoint(session, held, step=1, storage_key="k", manifest=[], metrics={})
        [one] = records.usable_checkpoints(session, job["id"])
        records.reject_checkpoint(session, held, one.id, "weights has 1 bytes instead of 2")
    assert checkpoints(client, job["id"])[0]["rejected"]
    answer = try_train(client, continue_from=one.id)
    assert answer.status_code == 400 and "damaged" in answer.json()["error"]["message"]
