"""Messages of both jobs and points of the curves are one list, in pages and to be followed."""

import pytest

from core.db import Database
from core.errors import InvalidInput
from core.finetuning.events import TuningEvent, read_events
from core.jobs import records
from core.jobs.claims import Claim
from core.jobs.models import Job
from core.jobs.records import Report
from core.pages import PageQuery
from tests.core.finetuning.tunings import accept_files, read, submit, take


@pytest.fixture
def job(database: Database, project_id: str) -> Job:
    """A training that is at step 2 of 4, with a validation and a checkpoint there."""
    job = submit(database, project_id)
    accept_files(database, job.depends_on)
    claim = take(database, job.id)
    report(database, claim, metrics={1: {"loss": 2.5, "learning_rate": 1e-3}})
    step = {"loss": 2.0, "token_accuracy": 0.5, "learning_rate": 1e-3}
    report(database, claim, metrics={2: step})
    validated = {"validation_loss": 2.25, "validation_token_accuracy": 0.4}
    report(database, claim, metrics={2: validated})
    with database.transaction() as session:
        records.add_checkpoint(
            session, claim, step=2, storage_key="k", manifest=[], metrics={"validation_loss": 2.25}
        )
    warning = {"message": "memory ran out", "level": "warning", "data": {"step": 2, "before": {}}}
    report(database, claim, events=[warning])
    return read(database, job.id)


def report(database: Database, claim: Claim, **said) -> None:
    with database.transaction() as session:
        progress = {"step": 2, "total": 4}
        records.write_report(session, claim, Report(progress=progress, **said), log_seq=1)


def events(database: Database, job: Job, **page) -> list[TuningEvent]:
    with database.reading() as session:
        return read_events(session, job, PageQuery(**{"limit": 100, "order": "asc"} | page)).rows


def test_both_jobs_are_heard_in_the_order_in_which_things_happened(
    database: Database, job: Job
) -> None:
    messages = [event.message for event in events(database, job)]
    assert messages == [
        "The prepare job is queued.",
        "The train job is queued.",
        "Worker worker@here has taken the job.",
        "The prepare job succeeded.",
        "Worker worker@here has taken the job.",
        "Step 1/4: training loss=2.5",
        "Step 2/4: training loss=2",
        "Checkpoint at step 2. validation loss=2.25",
        "memory ran out",
    ]


def test_points_and_validations_are_metrics_and_the_rest_are_messages(
    database: Database, job: Job
) -> None:
    *_, point, checkpoint, warning = events(database, job)
    assert (point.type, checkpoint.type, warning.type) == ("metrics", "metrics", "message")
    trained = {"train_loss": 2.0, "train_mean_token_accuracy": 0.5}
    shown = {"step": 2, "total_steps": 4, "learning_rate": 1e-3} | trained
    assert point.data == shown, "what is known of a step later is told later"
    validated = {"valid_loss": 2.25, "valid_mean_token_accuracy": 0.4}
    assert checkpoint.data == {"step": 2} | trained | validated
    assert (warning.level, checkpoint.level) == ("warn", "info")


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 4])
def test_pages_bring_each_event_once_in_either_order(
    database: Database, job: Job, order: str, limit: int
) -> None:
    whole = [event.id for event in events(database, job, order=order)]
    found: list[str] = []
    after = None
    with database.reading() as session:
        while True:
            page = read_events(session, job, PageQuery(after=after, limit=limit, order=order))
            found += [event.id for event in page.rows]
            if not page.has_more:
                break
            after = page.rows[-1].id
    assert found == whole
    assert len(set(found)) == 9


def test_newest_come_first_unless_asked_otherwise(database: Database, job: Job) -> None:
    newest = events(database, job, order="desc")
    assert newest == events(database, job)[::-1]


@pytest.mark.parametrize(
    "after", ["", "ftevent-", "ftevent-x1", "ftevent-e999999999999999999", "ftevent-m99", "1"]
)
def test_an_event_that_is_none_of_the_jobs_is_refused(
    database: Database, job: Job, after: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        events(database, job, after=after)
    assert refused.value.param == "after"


def test_another_jobs_event_is_none(database: Database, project_id: str, job: Job) -> None:
    other = events(database, submit(database, project_id))[0]
    with pytest.raises(InvalidInput):
        events(database, job, after=other.id)
