"""Submitting and reading jobs: what can't run is refused at the submit, with the reason."""

from unittest.mock import ANY

import pytest
from fastapi.testclient import TestClient

from core.db import get_database
from core.fleet.service import Node, register
from core.jobs.models import Job
from tests.api.routes.test_datasets import GOOD, upload


@pytest.fixture
def dataset(client: TestClient) -> dict:
    return upload(client, GOOD, name="pairs").json()


def submit(client: TestClient, type: str, **params: object):
    return client.post("/v1/jobs", json={"type": type, "params": params})


def test_a_train_waits_for_its_prepare_and_fails_with_it(client: TestClient, dataset: dict) -> None:
    job = submit(client, "train", model="tiny", dataset="pairs")
    assert job.status_code == 202, job.text
    assert job.json()["depends_on"] == dataset["job"]
    client.post(f"/v1/jobs/{dataset['job']}/cancel")
    after = client.get(f"/v1/jobs/{job.json()['id']}").json()
    assert (after["status"], after["error"]["class"]) == ("failed", "data")


@pytest.mark.parametrize(
    ("type", "params", "status", "param"),
    [
        ("train", {"model": "nope", "dataset": "pairs"}, 400, "model"),
        ("train", {"model": "tiny", "dataset": "nope"}, 404, "dataset"),
        ("train", {"model": "tiny"}, 400, "train.params.dataset"),
        ("train", {"model": "tiny", "dataset": "pairs", "lr": 1}, 400, "train.params.lr"),
        ("train", {"model": "tiny", "dataset": "pairs", "adapter": "../x"}, 400, "adapter"),
        ("evaluate", {"model": "nope:1", "dataset": "pairs"}, 400, "model"),
        ("merge", {"adapter": "nope:1"}, 404, "adapter"),
        ("generate", {"model": "tiny", "questions": []}, 400, "generate.params.questions"),
        ("generate", {"model": "tiny"}, 400, "generate.params"),
        ("train", {"model": "tiny", "dataset": "pairs", "epochs": -1}, 400, ANY),
        ("train", {"model": "tiny", "dataset": "pairs", "micro_batch": 0}, 400, ANY),
        ("train", {"model": "tiny", "dataset": "pairs", "learning_rate": -5}, 400, ANY),
        ("train", {"model": "tiny", "dataset": "pairs", "lora": {"layers": -3}}, 400, ANY),
        ("train", {"model": "tiny", "dataset": "pairs", "seed": 10**30}, 400, ANY),
        ("evaluate", {"model": "x:" + "9" * 30, "dataset": "pairs"}, 400, "model"),
        ("evaluate", {"model": "a\x00b", "dataset": "pairs"}, 400, ANY),
        ("dance", {}, 400, None),
    ],
)
def test_what_cannot_run_is_refused_with_the_reason(
    client: TestClient, dataset: dict, type: str, params: dict, status: int, param: str | None
) -> None:
    answer = submit(client, type, **params)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"params": {"model": "m", "dataset": "d", "epoch": 1}},
            "train.params.epoch: no such field; perhaps epochs is meant",
        ),
        (
            {"params": {"model": "m", "dataset": "d", "lora": {"alfa": 8}}},
            "train.params.lora.alfa: no such field; perhaps alpha is meant",
        ),
        (
            {"params": {"model": "m", "dataset": "d"}, "prio": 1},
            "train.prio: no such field; perhaps priority is meant",
        ),
        (
            {"params": {"model": "m", "dataset": "d"}, "colour": 1},
            "train.colour: Extra inputs are not permitted",
        ),
    ],
)
def test_a_field_that_is_not_known_may_be_meant_for_another(
    client: TestClient, body: dict, message: str
) -> None:
    refused = client.post("/v1/jobs", json={"type": "train", **body})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (400, "extra_forbidden")
    assert error["message"] == message


def test_a_model_that_fits_no_worker_is_refused(client: TestClient, dataset: dict) -> None:
    node = Node(
        id="gpu0@a", queue="gpu", device="cpu", slots=1, memory_bytes=2**20, models=[], versions={}
    )
    with get_database().transaction() as session:
        register(session, node)
    answer = submit(client, "train", model="tiny", dataset="pairs")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "does_not_fit"


def test_an_invalid_dataset_is_refused(client: TestClient, dataset: dict) -> None:
    client.post(f"/v1/jobs/{dataset['job']}/cancel")
    answer = submit(client, "train", model="tiny", dataset="pairs")
    assert answer.json()["error"]["code"] == "dataset_invalid"


def test_a_queued_job_is_cancelled_once(client: TestClient) -> None:
    job = submit(client, "generate", model="tiny", questions=["how many?"]).json()
    first = client.post(f"/v1/jobs/{job['id']}/cancel")
    assert first.json()["status"] == "cancelled"
    second = client.post(f"/v1/jobs/{job['id']}/cancel")
    # Not 409: the SDK would try it again.
    assert (second.status_code, second.json()["error"]["code"]) == (400, "job_not_cancellable")


def test_lists_are_pages_newest_first_and_filter(client: TestClient, dataset: dict) -> None:
    made = [
        submit(client, "generate", model="tiny", questions=[f"问题 {n}"]).json()["id"]
        for n in range(5)
    ]
    first = client.get("/v1/jobs", params={"type": "generate", "limit": 3}).json()
    assert [job["id"] for job in first["data"]] == made[:1:-1]
    assert first["has_more"] and first["last_id"] == made[2]
    query = {"type": "generate", "limit": 3, "after": first["last_id"]}
    rest = client.get("/v1/jobs", params=query).json()
    assert [job["id"] for job in rest["data"]] == made[1::-1]
    assert not rest["has_more"]
    assert client.get("/v1/jobs", params={"status": "running"}).json()["data"] == []


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_number_that_is_none_is_refused(client: TestClient, dataset: dict, number: str) -> None:
    body = '{"type":"train","params":{"model":"tiny","dataset":"pairs","learning_rate":%s}}'
    headers = {"content-type": "application/json"}
    assert client.post("/v1/jobs", content=body % number, headers=headers).status_code == 400


@pytest.mark.parametrize("path", ["events?after=" + "9" * 30, "events?after=x", "logs?attempt=-1"])
def test_an_odd_cursor_is_refused(client: TestClient, dataset: dict, path: str) -> None:
    assert client.get(f"/v1/jobs/{dataset['job']}/{path}").status_code == 400


def test_a_batch_comes_from_an_uploaded_file(client: TestClient, stranger: TestClient) -> None:
    lines = '{"id": "a", "question": "多少?"}\n'.encode()
    part = {"file": ("batch.jsonl", lines)}
    file = client.post("/v1/files", data={"purpose": "batch"}, files=part).json()
    assert (file["object"], file["bytes"]) == ("file", len(lines))
    assert submit(client, "generate", model="tiny", file=file["id"]).status_code == 202
    assert stranger.get(f"/v1/files/{file['id']}").status_code == 404
    assert client.post("/v1/files", data={"purpose": "fun"}, files=part).status_code == 400


def test_events_tell_the_jobs_story(client: TestClient, dataset: dict) -> None:
    client.post(f"/v1/jobs/{dataset['job']}/cancel")
    events = client.get(f"/v1/jobs/{dataset['job']}/events").json()["data"]
    assert [event["data"]["status"] for event in events] == ["cancelled", "queued"]


def test_another_projects_job_is_not_found(
    client: TestClient, stranger: TestClient, dataset: dict
) -> None:
    for tail in ("", "/events", "/logs", "/metrics", "/attempts", "/results", "/checkpoints"):
        assert stranger.get(f"/v1/jobs/{dataset['job']}{tail}").status_code == 404
    for verb in ("cancel", "pause", "resume", "retry"):
        assert stranger.post(f"/v1/jobs/{dataset['job']}/{verb}").status_code == 404
    assert stranger.get("/v1/jobs").json()["data"] == []


def test_a_list_leaves_out_parameters_of_megabytes(client: TestClient, dataset: dict) -> None:
    small = submit(client, "train", model="tiny", dataset="pairs").json()
    with get_database().transaction() as session:
        long = session.get_one(Job, dataset["job"])
        long.params = long.params | {"questions": ["多少?" * 7000] * 10}
    listed = {row["id"]: row["params"] for row in client.get("/v1/jobs").json()["data"]}
    assert listed == {small["id"]: small["params"], dataset["job"]: None}
    whole = client.get(f"/v1/jobs/{dataset['job']}").json()
    assert len(whole["params"]["questions"]) == 10
