"""Failures that are tried again, and jobs that are made from ended ones, on both databases."""

import pytest
from sqlalchemy import select

from core.basemodels.service import record_base
from core.db import Database, db_now
from core.errors import InvalidInput, JobFailure
from core.jobs import records, service
from core.jobs.claims import Claim
from core.jobs.models import Checkpoint, Job, Metric
from core.jobs.records import Report
from core.jobs.sweep import sweep
from core.jobs.types.generate import GenerateParams
from core.storage import StoredFile
from tests.core.jobs.jobs import add_job
from tests.core.jobs.lives import lapse, put, read, take

INFRA = JobFailure("infra", "The storage does not answer.")
PARAMS = GenerateParams(model="tiny", questions=["how many?"]).model_dump(mode="json")


@pytest.fixture
def job_id(database: Database, project_id: str) -> str:
    row = {"name": "tiny", "parameters": 1, "architecture": "L", "context_length": 8}
    with database.transaction() as session:
        record_base(session, row)
        return add_job(session, project_id, type="generate", params=PARAMS).id


def fail(database: Database, claim: Claim, failure: JobFailure = INFRA) -> None:
    with database.transaction() as session:
        service.fail(session, claim, failure)


def save(database: Database, claim: Claim, step: int) -> None:
    with database.transaction() as session:
        records.add_checkpoint(
            session,
            claim,
            step=step,
            storage_key=f"{claim.job_id}/{step}",
            manifest=[StoredFile("a", step, "0")],
            metrics={"validation_loss": 1 / step},
        )


def retry(database: Database, project_id: str, job_id: str) -> Job:
    with database.transaction() as session:
        return service.retry(session, project_id, job_id)


# -- a failure that is tried again ----------------------------------------------------------------


def test_an_infra_failure_is_queued_again_and_waits(database: Database, job_id: str) -> None:
    fail(database, take(database, job_id))
    job = read(database, job_id)
    assert (job.status, job.retries, job.error) == ("queued", 1, None)
    with database.reading() as session:
        [attempt] = records.attempts(session, job_id)
        wait = session.scalar(select(Job.run_after - db_now()))
    assert (attempt.outcome, attempt.failure) == ("failed", "infra")
    assert attempt.message.startswith("The storage does not answer. It is tried again in ")
    assert wait <= 5
    # A message that comes twice does not cut the wait short; the dispatcher heeds it too.
    put(database, job_id, run_after=db_now() + 60)
    with database.transaction() as session:
        assert service.claim(session, job_id, "gpu0@a") is None
    put(database, job_id, run_after=db_now())
    assert take(database, job_id).token == 2


def test_an_infra_failure_that_stays_fails_the_job_after_the_last_retry(
    database: Database, job_id: str
) -> None:
    for _ in range(6):
        put(database, job_id, run_after=None)
        fail(database, take(database, job_id))
    job = read(database, job_id)
    assert (job.status, job.error["class"]) == ("failed", "infra")
    assert "tried 6 times" in job.error["message"] and "/retry" in job.error["message"]
    with database.reading() as session:
        attempts = records.attempts(session, job_id)
    assert [(one.outcome, one.failure) for one in attempts] == [("failed", "infra")] * 6


def test_a_checkpoint_begins_the_count_of_retries_anew(database: Database, job_id: str) -> None:
    for step in range(1, 9):
        put(database, job_id, run_after=None)
        claim = take(database, job_id)
        save(database, claim, step)
        fail(database, claim)
    job = read(database, job_id)
    assert (job.status, job.retries) == ("queued", 1)


# -- a job made from an ended one -----------------------------------------------------------------


def test_a_retry_carries_rows_curves_and_good_checkpoints_over(
    database: Database, project_id: str, job_id: str
) -> None:
    claim = take(database, job_id)
    for step in (1, 2, 3):
        save(database, claim, step)
    with database.transaction() as session:
        newest = records.usable_checkpoints(session, job_id)[0]
        records.reject_checkpoint(session, claim, newest.id, "a has 2 bytes instead of 3")
        report = Report(rows={4: {"sql": "选择"}}, metrics={1: {"loss": 2.0}})
        records.write_report(session, claim, report, log_seq=0)
    put(database, job_id, time_limit_seconds=99, priority=7)
    fail(database, claim, JobFailure("timeout", "too long"))

    new = retry(database, project_id, job_id)
    assert (new.type, new.params, new.status) == ("generate", PARAMS, "queued")
    assert (new.retry_of, new.time_limit_seconds, new.priority) == (job_id, 99, 7)
    with database.reading() as session:
        assert list(records.done_rows(session, new.id)) == [(4, {"sql": "选择"})]
        kept = records.usable_checkpoints(session, new.id)
        curve = session.scalars(select(Metric).where(Metric.job_id == new.id)).all()
        old = records.usable_checkpoints(session, job_id)
    assert [(one.step, one.storage_key) for one in kept] == [
        (2, f"{job_id}/2"),
        (1, f"{job_id}/1"),
    ]
    assert kept[0].manifest == [{"path": "a", "bytes": 2, "sha256": "0"}]
    assert [one.values for one in curve] == [{"loss": 2.0}]
    assert [one.step for one in old] == [2, 1], "the old job keeps its own"
    assert read(database, job_id).status == "failed"


def test_rotation_never_deletes_files_that_another_job_points_to(
    database: Database, project_id: str, job_id: str
) -> None:
    claim = take(database, job_id)
    for step in (1, 2):
        save(database, claim, step)
    fail(database, claim, JobFailure("config", "x"))
    new = retry(database, project_id, job_id)
    claim = take(database, new.id)
    for step in (3, 4, 5):
        save(database, claim, step)
    with database.transaction() as session:
        dropped = records.drop_old_checkpoints(session, claim, keep=1)
        assert sorted(dropped) == [f"{new.id}/3", f"{new.id}/4"]
        kept = records.usable_checkpoints(session, new.id)
        assert [one.storage_key for one in kept] == [f"{new.id}/5"]
        assert len(records.usable_checkpoints(session, job_id)) == 2
        # The last row that points to it lets it go.
        session.query(Checkpoint).filter_by(job_id=job_id).delete()
        assert records.unpointed_keys(session, [f"{job_id}/1"]) == [f"{job_id}/1"]


def test_a_retry_of_a_retry_goes_on_from_the_first_ones_checkpoint(
    database: Database, project_id: str, job_id: str
) -> None:
    claim = take(database, job_id)
    save(database, claim, 5)
    fail(database, claim, JobFailure("config", "x"))
    second = retry(database, project_id, job_id)
    fail(database, take(database, second.id), JobFailure("config", "x"))
    third = retry(database, project_id, second.id)
    with database.reading() as session:
        [checkpoint] = records.usable_checkpoints(session, third.id)
    assert (checkpoint.step, checkpoint.storage_key) == (5, f"{job_id}/5")


def test_a_retry_that_the_contract_refuses_today_makes_no_job(
    database: Database, project_id: str, job_id: str
) -> None:
    put(database, job_id, status="failed", params=PARAMS | {"model": "gone"})
    with pytest.raises(InvalidInput, match="no base model 'gone'"):
        retry(database, project_id, job_id)
    put(database, job_id, params=PARAMS | {"colour": "red"})
    with pytest.raises(InvalidInput, match="not taken any more"):
        retry(database, project_id, job_id)
    with database.reading() as session:
        assert session.scalars(select(Job.id)).all() == [job_id]


def test_a_claim_knows_how_much_of_the_time_limit_is_used_up(
    database: Database, job_id: str
) -> None:
    assert take(database, job_id).spent_seconds == 0
    with database.transaction() as session:
        [attempt] = records.attempts(session, job_id)
        attempt.started_at = db_now() - 100
    lapse(database, job_id)
    sweep()
    assert 100 <= take(database, job_id).spent_seconds < 160
