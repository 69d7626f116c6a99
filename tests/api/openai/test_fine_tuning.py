"""Fine-tuning jobs over HTTP: the body, the object, lists, and what is refused."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from core.db import get_database
from core.jobs import service
from core.jobs.models import Job
from core.jobs.types.base import Outcome
from tests.core.finetuning.tunings import accept_files, fail, refuse_files, take

URL = "/v1/fine_tuning/jobs"
LINE = b'{"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}\n'


@pytest.fixture
def file(client: TestClient) -> str:
    return upload(client)


def upload(client: TestClient, purpose: str = "fine-tune") -> str:
    form = {"files": {"file": ("chat.jsonl", LINE)}, "data": {"purpose": purpose}}
    answer = client.post("/v1/files", **form)
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def create(client: TestClient, file: str, **body: Any) -> dict[str, Any]:
    answer = client.post(URL, json={"model": "tiny", "training_file": file} | body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(client: TestClient, file: str, **body: Any) -> dict[str, Any]:
    answer = client.post(URL, json={"model": "tiny", "training_file": file} | body)
    assert answer.status_code in (400, 404), answer.text
    return answer.json()["error"]


def act(client: TestClient, job: dict[str, Any], verb: str, status: int = 200) -> dict[str, Any]:
    answer = client.post(f"{URL}/{job['id']}/{verb}")
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_new_job_has_all_that_openai_marks_required(client: TestClient, file: str) -> None:
    job = create(client, file, suffix="sales", seed=7, metadata={"team": "销售"})
    auto = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
    expected = {
        "object": "fine_tuning.job",
        "error": None,
        "fine_tuned_model": None,
        "finished_at": None,
        "hyperparameters": auto,
        "model": "tiny",
        "result_files": [],
        "seed": 7,
        "status": "validating_files",
        "trained_tokens": None,
        "training_file": file,
        "validation_file": None,
        "metadata": {"team": "销售"},
        "method": {"type": "supervised", "supervised": {"hyperparameters": auto}},
        "queue_position": None,
        "progress": None,
        "estimated_finish": None,
        "adapter": "sales",
    }
    assert {name: job[name] for name in expected} == expected
    assert job["organization_id"].startswith("proj_")
    assert client.get(f"{URL}/{job['id']}").json() == job


def test_its_id_is_the_id_of_its_train_job(client: TestClient, file: str) -> None:
    job = create(client, file)
    train = client.get(f"/v1/jobs/{job['id']}").json()
    prepare = client.get(f"/v1/jobs/{job['prepare_job']}").json()
    assert (train["type"], train["depends_on"], prepare["type"]) == (
        "train",
        job["prepare_job"],
        "prepare",
    )


def test_our_parameters_stand_beside_openais(client: TestClient, file: str) -> None:
    job = create(
        client,
        file,
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 8}},
        },
        lora={"r": 8, "alpha": 16},
        quantization="none",
        learning_rate=1e-3,
        max_length=512,
        gradient_accumulation=4,
        early_stopping={"metric": "valid_loss", "patience": 2},
        eval_steps=5,
        adapter="sales-sql",
        prompt="bare",
    )
    params = client.get(f"/v1/jobs/{job['id']}").json()["params"]
    expected = {
        "epochs": 2,
        "batch_size": 8,
        "micro_batch": 2,
        "quantization": "none",
        "learning_rate": 1e-3,
        "max_length": 512,
        "save_steps": 5,
        "early_stopping": {"patience": 2, "min_delta": 0.0},
        "adapter": "sales-sql",
        "prompt": "bare",
    }
    assert {name: params[name] for name in expected} == expected
    assert (params["lora"]["r"], params["lora"]["alpha"]) == (8, 16)


def test_the_old_place_of_hyperparameters_is_good_too(client: TestClient, file: str) -> None:
    job = create(client, file, hyperparameters={"n_epochs": 4})
    assert job["hyperparameters"]["n_epochs"] == 4
    same = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 4}}}
    create(client, file, hyperparameters={"n_epochs": 4}, method=same)
    error = refused(client, file, hyperparameters={"n_epochs": 5}, method=same)
    assert error["param"] == "hyperparameters"


def test_what_sdks_send_as_nothing_is_nothing(client: TestClient, file: str) -> None:
    nothing = dict.fromkeys(("validation_file", "suffix", "seed", "metadata", "integrations"))
    assert create(client, file, **nothing)["metadata"] is None
    create(client, file, integrations=[], method={"type": "supervised"})


METHOD = "method.supervised.hyperparameters"


def tuned_with(**hyperparameters: Any) -> dict[str, Any]:
    return {"method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}}


REFUSED = [
    ({"colour": "red"}, "colour"),
    ({"dataset": "pairs"}, "dataset"),
    ({"epochs": 3}, "epochs"),
    ({"model": "gpt-4o-mini"}, "model"),
    ({"training_file": "file_nowhere"}, "training_file"),
    ({"training_file": None}, "training_file"),
    ({"validation_file": "file_nowhere"}, "validation_file"),
    ({"suffix": ""}, "suffix"),
    ({"suffix": "x" * 65}, "suffix"),
    ({"suffix": "销售"}, "suffix"),
    ({"seed": -1}, "seed"),
    (tuned_with(n_epochs=0), f"{METHOD}.n_epochs"),
    (tuned_with(n_epochs=51), f"{METHOD}.n_epochs"),
    (tuned_with(batch_size=257), f"{METHOD}.batch_size"),
    (tuned_with(learning_rate_multiplier=0), f"{METHOD}.learning_rate_multiplier"),
    (tuned_with(learning_rate_multiplier=1e9), f"{METHOD}.learning_rate_multiplier"),
    (tuned_with(beta=1), f"{METHOD}.beta"),
    ({"method": {"type": "dpo", "dpo": {}}}, "method.type"),
    ({"method": {"type": "reinforcement"}}, "method.type"),
    ({"method": {"type": "supervised", "dpo": {}}}, "method.dpo"),
    ({"integrations": [{"type": "wandb", "wandb": {"project": "x"}}]}, "integrations"),
    ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
    ({"metadata": {"key": "x" * 513}}, "metadata.key"),
    ({"metadata": {"key": 1}}, "metadata.key"),
    ({"lora": {"rank": 8}}, "lora.rank"),
    ({"lora": {"r": 0}}, "lora.r"),
    ({"quantization": "2bit"}, "quantization"),
    ({"early_stopping": {"metric": "loss"}}, "early_stopping.metric"),
    ({"gradient_accumulation": 2, "micro_batch": 1}, "gradient_accumulation"),
    ({"eval_steps": 2, "save_steps": 3}, "eval_steps"),
    ({"database": "nowhere"}, "database"),
    ({"adapter": "Not a name"}, "adapter"),
    ({"continue_from": "nothing:1"}, "continue_from"),
]
"""Bodies beside model and file, and the field that is at fault."""


def test_what_cant_be_done_is_refused_with_its_place(client: TestClient, file: str) -> None:
    for body, param in REFUSED:
        assert refused(client, file, **body)["param"] == param, body
    assert client.get(URL).json()["data"] == []
    assert client.get("/v1/jobs").json()["data"] == []


def test_a_file_that_was_uploaded_for_something_else_is_refused(client: TestClient) -> None:
    error = refused(client, upload(client, "batch"))
    assert error["param"] == "training_file" and "'fine-tune'" in error["message"]


def test_a_bad_line_fails_the_job_with_file_and_line(client: TestClient, file: str) -> None:
    job = create(client, file)
    refuse_files(get_database(), job["prepare_job"])
    failed = client.get(f"{URL}/{job['id']}").json()
    assert failed["status"] == "failed" and failed["finished_at"] is not None
    assert failed["error"] == {
        "code": "bad_role",
        "message": 'Line 2, $.messages[0].role: role is "gpt"; call it assistant (1 rows are bad '
        "in all)",
        "param": "training_file",
        "line": 2,
    }


def test_a_job_is_paused_resumed_and_cancelled(client: TestClient, file: str) -> None:
    job = create(client, file)
    assert act(client, job, "pause")["status"] == "paused"
    assert act(client, job, "pause", 400)["error"]["code"] == "job_not_pausable"
    assert act(client, job, "resume")["status"] == "validating_files"
    assert act(client, job, "resume", 400)["error"]["code"] == "job_not_resumable"
    assert act(client, job, "cancel")["status"] == "cancelled"
    assert act(client, job, "cancel", 400)["error"]["code"] == "job_not_cancellable"


def test_progress_and_what_auto_came_to_are_shown_while_it_runs(
    client: TestClient, file: str
) -> None:
    job = create(client, file)
    accept_files(get_database(), job["prepare_job"])
    take(get_database(), job["id"])
    with get_database().transaction() as session:
        row = session.get_one(Job, job["id"])
        figures = {"epoch": 0.5, "examples_per_second": 4.0, "tokens_per_second": 9.0}
        row.progress = {"step": 3, "total": 12, "eta_seconds": 600.0, **figures}
        row.result = {"resolved": {"epochs": 10, "batch_size": 16, "learning_rate": 2e-3}}
    shown = client.get(f"{URL}/{job['id']}").json()
    assert shown["status"] == "running"
    assert shown["progress"] == {
        "step": 3,
        "total_steps": 12,
        "epoch": 0.5,
        "examples_per_second": 4.0,
        "eta_seconds": 600.0,
    }
    assert shown["estimated_finish"] >= shown["created_at"] + 600
    assert shown["hyperparameters"] == {
        "n_epochs": 10,
        "batch_size": 16,
        "learning_rate_multiplier": 1.0,
    }
    assert shown["resolved"]["learning_rate"] == 2e-3
    checkpoints = client.get(f"{URL}/{job['id']}/checkpoints").json()
    assert checkpoints["data"] == [] and checkpoints["has_more"] is False


def test_lists_are_pages_newest_first(client: TestClient, file: str) -> None:
    ids = [create(client, file)["id"] for _ in range(5)][::-1]
    page = client.get(URL, params={"limit": 2}).json()
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (ids[:2], True)
    rest = client.get(URL, params={"after": page["last_id"], "limit": 3}).json()
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == (ids[2:], False)


def test_lists_are_filtered_by_metadata(client: TestClient, file: str) -> None:
    sales = create(client, file, metadata={"team": "sales", "run": "1"})["id"]
    other = create(client, file, metadata={"team": "ops"})["id"]
    bare = create(client, file)["id"]

    def found(**params: str) -> list[str]:
        return [one["id"] for one in client.get(URL, params=params).json()["data"]]

    assert found(**{"metadata[team]": "sales"}) == [sales]
    assert found(**{"metadata[team]": "ops"}) == [other]
    assert found(**{"metadata[team]": "ops", "metadata[run]": "1"}) == []
    assert found(metadata="null") == [bare]
    assert found() == [bare, other, sales]


def test_a_plain_training_is_not_listed(client: TestClient, file: str) -> None:
    job = create(client, file)
    with get_database().transaction() as session:
        session.get_one(Job, job["id"]).surface = None
    assert client.get(URL).json()["data"] == []
    assert client.get(f"{URL}/{job['id']}").status_code == 404


def test_events_are_openais(client: TestClient, file: str) -> None:
    job = create(client, file)
    page = client.get(f"{URL}/{job['id']}/events").json()
    newest, oldest = page["data"]
    assert (newest["message"], oldest["message"]) == (
        "The train job is queued.",
        "The prepare job is queued.",
    )
    assert newest["object"] == "fine_tuning.job.event"
    assert (newest["level"], newest["type"]) == ("info", "message")
    assert page["first_id"] == newest["id"]
    wrong = client.get(f"{URL}/{job['id']}/events", params={"after": "nothing"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "after")


def test_a_failure_in_training_says_its_class(client: TestClient, file: str) -> None:
    job = create(client, file)
    accept_files(get_database(), job["prepare_job"])
    fail(get_database(), take(get_database(), job["id"]), "oom_gpu", "Too large.")
    error = client.get(f"{URL}/{job['id']}").json()["error"]
    assert (error["code"], error["message"], error["param"]) == ("oom_gpu", "Too large.", None)


def test_a_tuned_model_is_where_the_next_training_starts(client: TestClient, file: str) -> None:
    first = create(client, file, adapter="sales")
    database = get_database()
    accept_files(database, first["prepare_job"])
    claim = take(database, first["id"])
    result = {"resolved": {"epochs": 1, "batch_size": 16}, "train_tokens": 50, "epochs": 2.0}
    with database.transaction() as session:
        service.succeed(session, claim, Outcome(result, [], "out"))
    done = client.get(f"{URL}/{first['id']}").json()
    assert done["fine_tuned_model"] == f"ft:tiny:ours:sales:{first['id']}"
    assert done["trained_tokens"] == 100
    for name in (done["fine_tuned_model"], "sales:1"):
        again = create(client, file, model=name)
        params = client.get(f"/v1/jobs/{again['id']}").json()["params"]
        assert (again["model"], params["model"], params["continue_from"]) == (
            name,
            "tiny",
            "sales:1",
        )
    other = create(client, file, continue_from=done["fine_tuned_model"])
    params = client.get(f"/v1/jobs/{other['id']}").json()["params"]
    assert params["continue_from"] == "sales:1"
    error = refused(client, file, model="sales:1", continue_from="sales:1")
    assert error["param"] == "continue_from"
