"""What was uploaded with a dataset outlives a job that ended without a verdict on its rows."""

from pathlib import Path

import pytest
from sqlalchemy import select

from core.datasets import service as datasets
from core.datasets.models import Dataset
from core.db import Database, db_now
from core.errors import JobFailure, NotFound
from core.files import service as files
from core.files.models import File
from core.files.purposes import DAY
from core.jobs import service
from core.jobs.models import Job
from core.jobs.types.base import Outcome
from core.jobs.types.prepare import PrepareParams
from core.storage import StoredFile, get_storage
from tests.core.jobs.lives import put, take

BAD = {"status": "invalid", "report": {"rows": 1, "rejected": 1, "problems": []}}
READY = {
    "status": "ready",
    "report": {"rows": 1, "problems": []},
    "splits": {"train": 1},
    "statistics": {},
    "content_hash": "h",
    "kind": "sql",
}


@pytest.fixture
def job_id(database: Database, project_id: str, tmp_path: Path) -> str:
    """A prepare job as `POST /v1/datasets` leaves it."""
    path = tmp_path / "upload"
    path.write_bytes(b"rows")
    with files.stored_upload(project_id, path) as key, database.transaction() as session:
        file = files.create(
            session,
            project_id,
            filename="pairs.jsonl",
            purpose="dataset",
            stored=StoredFile("upload", 4, "0"),
            storage_key=key,
        )
        params = PrepareParams(name="pairs", file=file.id)
        return service.submit(session, project_id, "prepare", params).id


def cancel_queued(database: Database, project_id: str, job_id: str) -> None:
    with database.transaction() as session:
        service.request_cancel(session, project_id, job_id)


def cancel_running(database: Database, project_id: str, job_id: str) -> None:
    with database.transaction() as session:
        claim = service.claim(session, job_id, "cpu0@a")
        service.cancelled(session, claim)


def run_out_of_tries(database: Database, project_id: str, job_id: str) -> None:
    for _ in range(6):
        put(database, job_id, run_after=None)
        fail(database, job_id, "infra")


def fill_the_disk(database: Database, project_id: str, job_id: str) -> None:
    fail(database, job_id, "disk")


def die(database: Database, project_id: str, job_id: str) -> None:
    for _ in range(3):
        claim = take(database, job_id)
        with database.transaction() as session:
            service.lost_runner(session, claim, "The runner died.")


def fail(database: Database, job_id: str, klass: str) -> None:
    claim = take(database, job_id)
    with database.transaction() as session:
        service.fail(session, claim, JobFailure(klass, "It went wrong."))


def retry(database: Database, project_id: str, job_id: str) -> str:
    with database.transaction() as session:
        return service.retry(session, project_id, job_id).id


def succeed(database: Database, job_id: str, result: dict) -> Job:
    claim = take(database, job_id)
    with database.transaction() as session:
        return service.succeed(session, claim, Outcome(result, [], "out"))


def file_of(database: Database, job_id: str) -> File:
    with database.reading() as session:
        return session.get_one(File, session.get_one(Job, job_id).params["file"])


def expire(database: Database) -> int:
    with database.transaction() as session:
        return files.drop_expired(session, most=9)


@pytest.mark.parametrize(
    "end", [cancel_queued, cancel_running, run_out_of_tries, fill_the_disk, die]
)
def test_a_job_that_ended_without_a_verdict_can_be_retried_and_makes_the_dataset(
    database: Database, project_id: str, job_id: str, end
) -> None:
    end(database, project_id, job_id)
    with database.reading() as session:
        assert datasets.of_job(session, job_id).status == "invalid"
    again = retry(database, project_id, job_id)
    assert get_storage().open(file_of(database, again).storage_key).read() == b"rows"
    assert succeed(database, again, READY).status == "succeeded"
    with database.reading() as session:
        assert datasets.find(session, project_id, "pairs").status == "ready"
        assert len(session.scalars(select(Dataset)).all()) == 2, "the first keeps its report"
    assert file_of(database, again).expires_at is None, "as of any dataset that is ready"


def test_an_upload_that_nobody_retries_goes_when_the_checkpoints_of_such_a_job_would(
    database: Database, project_id: str, job_id: str
) -> None:
    fill_the_disk(database, project_id, job_id)
    file = file_of(database, job_id)
    with database.reading() as session:
        left = file.expires_at - session.scalar(select(db_now()))
    assert 29.9 * DAY < left <= 30 * DAY
    assert expire(database) == 0
    lapse(database, file.id)
    assert expire(database) == 1
    with pytest.raises(NotFound):
        get_storage().open(file.storage_key)
    with pytest.raises(NotFound, match="was deleted"):
        retry(database, project_id, job_id)


def test_an_upload_past_its_time_stays_while_a_retry_needs_it(
    database: Database, project_id: str, job_id: str
) -> None:
    fill_the_disk(database, project_id, job_id)
    again = retry(database, project_id, job_id)
    lapse(database, file_of(database, job_id).id)
    assert expire(database) == 0
    assert succeed(database, again, READY).status == "succeeded"
    assert expire(database) == 0


def test_an_upload_whose_rows_are_bad_goes_at_once(
    database: Database, project_id: str, job_id: str
) -> None:
    assert succeed(database, job_id, BAD).error["class"] == "data"
    with pytest.raises(NotFound):
        get_storage().open(file_of(database, job_id).storage_key)


def lapse(database: Database, file_id: str) -> None:
    with database.transaction() as session:
        session.get_one(File, file_id).expires_at = 1.0
