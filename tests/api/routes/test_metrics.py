"""`/metrics`: true figures, for operators alone, without anybody's name."""

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families as parse
from sqlalchemy import update

from core.accounts.service import ensure_project
from core.db import db_now, get_database
from core.errors import JobFailure
from core.fleet import service as fleet
from core.jobs import records, service
from core.jobs.models import Job, JobEvent
from core.jobs.sweep import sweep
from core.storage import StoredFile
from tests.api.conftest import make_key
from tests.core.jobs.jobs import add_job, add_worker
from tests.core.jobs.lives import lapse, take
from tests.platform import environment


def samples(client: TestClient) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels in their names' order."""
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    return {
        (one.name, *(value for _, value in sorted(one.labels.items()))): one.value
        for family in parse(answer.text)
        for one in family.samples
    }


@pytest.fixture
def project(client: TestClient) -> str:
    with get_database().transaction() as session:
        return ensure_project(session, "canary-project").id


def new_job(project: str, **values: object) -> str:
    with get_database().transaction() as session:
        return add_job(session, project, params={"name": "canary-params"}, **values).id


def test_an_empty_platform_has_figures_too(client: TestClient) -> None:
    found = samples(client)
    assert found["tuneyard_queue_age_seconds", "gpu"] == 0
    assert found["tuneyard_workers_live", "cpu"] == 0
    assert found[("tuneyard_lease_expiries_total",)] == 0
    assert ("tuneyard_sweep_lag_seconds",) not in found, "absent, not wrong"


def test_jobs_attempts_and_checkpoints_are_counted(client: TestClient, project: str) -> None:
    database = get_database()
    failed, lost, running = (new_job(project) for _ in range(3))
    held = take(database, failed)
    with database.transaction() as session:
        service.fail(session, held, JobFailure("data", "a sentence"))
    take(database, lost)
    lapse(database, lost)
    assert sweep() == 1
    held = take(database, running)
    file = StoredFile("weights", 700, "0")
    for step, seconds in ((1, 0.5), (2, 1.5)):
        with database.transaction() as session:
            records.add_checkpoint(
                session,
                held,
                step=step,
                storage_key=f"projects/p/{step}",
                manifest=[file],
                metrics={},
                seconds=seconds,
            )
    with database.transaction() as session:
        assert len(records.drop_old_checkpoints(session, held, keep=1)) == 1

    found = samples(client)
    assert found["tuneyard_jobs", "failed", "merge"] == 1
    assert found["tuneyard_jobs", "queued", "merge"] == 1
    assert found["tuneyard_jobs", "running", "merge"] == 1
    assert found["tuneyard_attempts_total", "data", "failed"] == 1
    assert found["tuneyard_attempts_total", "lease", "lost"] == 1
    assert found[("tuneyard_lease_expiries_total",)] == 1
    assert found[("tuneyard_checkpoint_seconds_count",)] == 2
    assert found[("tuneyard_checkpoint_seconds_sum",)] == 2
    assert found[("tuneyard_checkpoint_bytes_sum",)] == 1400, "of the dropped one too"
    assert found[("tuneyard_checkpoints_kept_bytes",)] == 700


def test_a_queues_age_is_that_of_the_oldest_job_that_may_run(
    client: TestClient, project: str
) -> None:
    database = get_database()
    new_job(project, queue="gpu", created_at=db_now() - 50)
    again = new_job(project, queue="gpu", created_at=db_now() - 5000)
    with database.transaction() as session:  # it ran for long, and has waited for 20 s since
        session.add(
            JobEvent(
                job_id=again,
                level="info",
                message="queued again",
                data={"status": "queued"},
                created_at=db_now() - 20,
            )
        )
    new_job(project, queue="cpu", created_at=db_now() - 900, run_after=db_now() + 60)
    awaited = new_job(project, queue="cpu", created_at=db_now() - 800, status="paused")
    new_job(project, queue="cpu", created_at=db_now() - 700, depends_on=awaited)
    found = samples(client)
    assert 50 <= found["tuneyard_queue_age_seconds", "gpu"] < 500
    assert found["tuneyard_queue_ready_jobs", "gpu"] == 2
    assert found["tuneyard_queue_age_seconds", "cpu"] == 0, "none of them may run yet"
    with database.transaction() as session:
        done = update(Job).where(Job.id == awaited)
        session.execute(done.values({"status": "succeeded", "finished_at": db_now() - 30}))
    assert 30 <= samples(client)["tuneyard_queue_age_seconds", "cpu"] < 500


def test_the_fleet_and_the_keeper_are_seen(client: TestClient) -> None:
    with fleet.keeper_run("sweep"), get_database().transaction() as session:
        for name in ("gpu0@a", "gpu1@a"):
            add_worker(session, name)
        add_worker(session, "keeper@a", queue="system")
    found = samples(client)
    assert found["tuneyard_workers_live", "gpu"] == 2
    assert found["tuneyard_workers_live", "system"] == 1
    assert 0 <= found[("tuneyard_sweep_lag_seconds",)] < 60


def test_requests_are_counted_by_their_routes_template(client: TestClient) -> None:
    before = samples(client)
    for path in ("/v1/jobs/job_canary", "/v1/jobs/job_other", "/v1/jobs", "/nowhere/canary"):
        client.get(path)
    found = samples(client)

    def more(*sample: str) -> float:
        return found[sample] - before.get(sample, 0)

    assert more("tuneyard_http_requests_total", "GET", "/v1/jobs/{job_id}", "404") == 2
    assert more("tuneyard_http_requests_total", "GET", "/v1/jobs", "200") == 1
    assert more("tuneyard_http_requests_total", "GET", "none", "404") == 1
    assert more("tuneyard_http_request_seconds_count", "GET", "/v1/jobs/{job_id}") == 2
    assert any(name == "tuneyard_http_request_seconds_bucket" for name, *_ in found)


def test_no_label_bears_a_name_an_id_or_a_project(client: TestClient, project: str) -> None:
    job = new_job(project)
    with get_database().transaction() as session:
        add_worker(session, "canary-worker@host")
    take(get_database(), job)
    client.get(f"/v1/jobs/{job}?type=canary")
    text = client.get("/metrics").text
    for secret in ("canary", job, project):
        assert secret not in text


def test_a_key_of_a_project_does_not_open_it_and_an_administrators_does(
    client: TestClient, anonymous: TestClient
) -> None:
    def status(secret: str) -> int:
        return client.get("/metrics", headers={"authorization": secret}).status_code

    assert status("") == 401
    assert status("Bearer nonsense") == 401
    assert status(f"Bearer {make_key('ours', 'read')}") == 403
    assert status(f"Bearer {make_key('ours', 'write')}") == 403
    assert status(f"Bearer {make_key('ours', 'admin')}") == 200


def test_the_configured_token_opens_it(client: TestClient, database, tmp_path) -> None:
    settings = {"data_dir": str(tmp_path), "database_url": database.url}
    with environment(**settings, metrics_token="s3cret-token"):
        for secret, status in (("s3cret-token", 200), ("s3cret", 401), ("", 401)):
            headers = {"authorization": f"Bearer {secret}"}
            assert client.get("/metrics", headers=headers).status_code == status
