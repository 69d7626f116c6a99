"""Evaluations and merges are the jobs that they are, seen by what they bring."""

import pytest
from fastapi.testclient import TestClient

from core.accounts.service import ensure_project
from core.db import get_database
from core.jobs.models import Job
from tests.api.belongings import own_one_of_each
from tests.core.evaluations.finished import add_evaluation

A = [True, True, False, False, True]
B = [True, False, True, True, False]


@pytest.fixture
def ids(client: TestClient) -> dict[str, str]:
    with get_database().transaction() as session:
        project = ensure_project(session, "ours")
        ids = own_one_of_each(session, project)
        for name, right in (("a", A), ("b", B)):
            ids[name] = add_evaluation(session, project.id, "theirs:1", right, dataset="pairs").id
        other = {"dataset": "pairs", "split": "validation"}
        ids["other"] = add_evaluation(session, project.id, "tiny", A, **other).id
        return ids


def compare(client: TestClient, a: str, b: str, **params: int):
    return client.get("/v1/evaluations/compare", params={"a": a, "b": b, **params})


def test_an_evaluation_is_a_job_of_the_same_id(client: TestClient, ids: dict[str, str]) -> None:
    body = {"model": "theirs@production", "dataset": "pairs", "limit": 5}
    made = client.post("/v1/evaluations", json=body)
    assert made.status_code == 202, made.text
    shown = made.json()
    assert (shown["object"], shown["status"], shown["summary"]) == ("evaluation", "queued", None)
    # What the alias stood for at the submit.
    assert (shown["model"], shown["split"]) == ("theirs:1", "test")
    job = client.get(f"/v1/jobs/{shown['id']}").json()
    assert (job["type"], job["params"]) == ("evaluate", shown["params"])
    assert client.get(f"/v1/evaluations/{shown['id']}").json() == shown


def test_a_repeated_post_under_one_key_makes_one(client: TestClient, ids: dict[str, str]) -> None:
    body = {"model": "tiny", "dataset": "pairs"}
    key = {"Idempotency-Key": "one"}
    first, again = (client.post("/v1/evaluations", json=body, headers=key) for _ in range(2))
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"


def test_a_summary_has_shares_with_intervals_and_what_went_wrong(
    client: TestClient, ids: dict[str, str]
) -> None:
    summary = client.get(f"/v1/evaluations/{ids['a']}").json()["summary"]
    accuracy = summary["execution_accuracy"]
    assert (accuracy["correct"], accuracy["total"], accuracy["value"]) == (3, 5, 0.6)
    assert accuracy["low"] < 0.6 < accuracy["high"]
    assert summary["valid_sql"] == 1.0
    assert summary["errors"] == {"wrong_rows": 2}
    assert summary["by_hardness"]["easy"]["total"] == summary["by_language"]["zh"]["total"] == 5
    assert summary["latency_seconds"]["p50"] == 0.1


def test_rows_are_read_in_pages_and_the_wrong_ones_alone(
    client: TestClient, ids: dict[str, str]
) -> None:
    url = f"/v1/evaluations/{ids['a']}/rows"
    page = client.get(url, params={"limit": 2, "order": "asc"}).json()
    assert [row["row"] for row in page["data"]] == [0, 1] and page["has_more"]
    wrong = client.get(url, params={"correct": False, "order": "asc"}).json()
    assert [row["row"] for row in wrong["data"]] == [2, 3]


def test_lists_are_narrowed_by_model_and_status(client: TestClient, ids: dict[str, str]) -> None:
    done = client.get("/v1/evaluations", params={"model": "theirs:1", "status": "succeeded"})
    assert [row["id"] for row in done.json()["data"]] == [ids["b"], ids["a"]]


def test_two_are_compared_question_by_question(client: TestClient, ids: dict[str, str]) -> None:
    shown = compare(client, ids["a"], ids["b"]).json()
    assert (shown["questions"], shown["won"], shown["lost"], shown["tied"]) == (5, 2, 2, 1)
    assert (shown["difference"], shown["p_value"]) == (0.0, 1.0)
    assert shown["low"] < 0 < shown["high"]
    assert (shown["dataset"], shown["split"]) == ("pairs", "test")
    assert [one["row"] for one in shown["won_questions"]] == [2, 3]
    lost = shown["lost_questions"][0]
    assert (lost["question"], lost["gold"]) == ("问题 1?", "SELECT 1")
    assert (lost["a"]["correct"], lost["b"]["prediction"]) == (True, "SELECT -1")
    assert compare(client, ids["a"], ids["b"], limit=0).json()["won_questions"] == []


def test_what_was_asked_otherwise_or_is_not_done_can_not_be_compared(
    client: TestClient, ids: dict[str, str], stranger: TestClient
) -> None:
    other = compare(client, ids["a"], ids["other"])
    assert (other.status_code, other.json()["error"]["code"]) == (400, "not_comparable")
    queued = compare(client, ids["a"], ids["evaluation_id"])
    assert queued.json()["error"]["code"] == "evaluation_not_finished"
    assert compare(client, ids["a"], ids["merge_id"]).status_code == 404
    assert compare(stranger, ids["a"], ids["b"]).status_code == 404


def test_a_merge_is_a_job_of_the_same_id_and_shows_its_parity(
    client: TestClient, ids: dict[str, str]
) -> None:
    made = client.post("/v1/merges", json={"adapter": "theirs:1", "name": "theirs-merged"})
    assert made.status_code == 202, made.text
    merge = made.json()
    assert (merge["object"], merge["adapter"], merge["model"]) == ("merge", "theirs:1", None)
    assert client.get(f"/v1/jobs/{merge['id']}").json()["type"] == "merge"
    with get_database().transaction() as session:
        parity = {"max_logit_difference": 2e-5, "token_agreement": 1.0}
        session.get_one(Job, merge["id"]).result = {
            "model": "theirs-merged",
            "parity": parity,
            "bytes": 12,
        }
    shown = client.get(f"/v1/merges/{merge['id']}").json()
    assert (shown["model"], shown["parity"], shown["bytes"]) == ("theirs-merged", parity, 12)
    assert merge["id"] in {row["id"] for row in client.get("/v1/merges").json()["data"]}
    assert client.get(f"/v1/merges/{ids['a']}").status_code == 404


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("path", ["/v1/evaluations/{}/rows", "/v1/jobs/{}/results"])
@pytest.mark.parametrize("most", [1, 700])
def test_a_page_of_large_rows_ends_early_and_the_pages_have_all(
    client: TestClient,
    ids: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    order: str,
    most: int,
) -> None:
    monkeypatch.setattr("core.pages.MOST_CHARACTERS", most)
    pages, query = [], {"order": order, "limit": 4}
    while not pages or pages[-1]["has_more"]:
        answer = client.get(path.format(ids["a"]), params=query)
        assert answer.status_code == 200, answer.text
        pages.append(answer.json())
        query["after"] = pages[-1]["last_id"]
    rows = [row["row"] for page in pages for row in page["data"]]
    assert rows == (list(range(5)) if order == "asc" else list(range(4, -1, -1)))
    sizes = [len(page["data"]) for page in pages]
    assert max(sizes) == 1 if most == 1 else 1 < max(sizes) < 4, sizes
