"""What a job tells of its failures has no secret in it, whoever put one there."""

import pytest

from core.db import Database
from core.errors import JobFailure
from core.jobs import records, service
from core.jobs.models import Attempt, JobEvent
from core.jobs.records import Report
from tests.core.jobs.jobs import add_job
from tests.core.jobs.lives import read, take

DSN = "postgresql://reader:canary@db/shop"


@pytest.fixture
def job_id(database: Database, project_id: str) -> str:
    with database.transaction() as session:
        return add_job(session, project_id).id


def told(database: Database, job_id: str) -> str:
    """All that users can read of a job and its attempt."""
    with database.reading() as session:
        events = session.query(JobEvent).filter_by(job_id=job_id).all()
        (attempt,) = session.query(Attempt).filter_by(job_id=job_id).all()
        said = [event.message for event in events] + [attempt.message or ""]
        return "\n".join(
            [*said, str(read(database, job_id).error), records.job_log(session, job_id)]
        )


def test_an_error_with_a_dsn_in_it_is_recorded_without_its_password(
    database: Database, job_id: str
) -> None:
    held = take(database, job_id)
    with database.transaction() as session:
        report = Report(log=f"connecting to {DSN}\n", events=[{"message": f"asked {DSN}"}])
        records.write_report(session, held, report, log_seq=1)
        service.fail(session, held, JobFailure("config", f"{DSN} does not answer"))
    text = told(database, job_id)
    assert text.count("postgresql://reader:***@db/shop") == 5
    assert "canary" not in text


def test_a_runner_that_died_of_it_tells_no_more(database: Database, job_id: str) -> None:
    held = take(database, job_id)
    with database.transaction() as session:
        service.lost_runner(session, held, f"The supervisor broke with ValueError: {DSN}.")
    assert "canary" not in told(database, job_id)
