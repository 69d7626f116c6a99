"""Workers and queues, live, without anybody else's secrets."""

from fastapi.testclient import TestClient

from core.accounts.service import ensure_project
from core.db import get_database
from tests.core.jobs.jobs import add_job, add_worker
from tests.core.jobs.lives import take


def test_workers_show_what_they_run_but_not_whose(client: TestClient, stranger: TestClient) -> None:
    with get_database().transaction() as session:
        add_worker(session, "gpu0@host", slots=2)
        job = add_job(session, ensure_project(session, "ours").id, type="train")
    take(get_database(), job.id, "gpu0@host")
    [mine] = client.get("/v1/workers").json()["data"]
    assert (mine["id"], mine["queue"], mine["slots"]) == ("gpu0@host", "gpu", 2)
    assert [(one["id"], one["type"]) for one in mine["running"]] == [(job.id, "train")]
    assert mine["throughput"] == {}
    [theirs] = stranger.get("/v1/workers").json()["data"]
    assert [(one["id"], one["type"]) for one in theirs["running"]] == [(None, "train")]


def test_queues_show_what_waits_and_what_is_free(client: TestClient) -> None:
    with get_database().transaction() as session:
        add_worker(session, "gpu0@host")
        add_job(session, ensure_project(session, "ours").id)
    answer = client.get("/v1/queues").json()
    [gpu] = answer["data"]
    assert (gpu["id"], gpu["queued"], gpu["ready"], gpu["running"]) == ("gpu", 1, 1, 0)
    assert (gpu["free_slots"], gpu["workers"]) == (1, ["gpu0@host"])
    assert gpu["oldest_wait_seconds"] >= 0
    assert (answer["first_id"], answer["has_more"]) == ("gpu", False)
