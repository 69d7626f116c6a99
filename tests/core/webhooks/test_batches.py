"""The end of a batch is told once, when its files are there, by the word that the batch shows."""

from pathlib import Path

import pytest
from sqlalchemy import select

from core.batches import service as batches
from core.batches.finishing import finish_batches
from core.batches.service import life_of
from core.batches.status import status_of
from core.batches.validation import Verdict
from core.db import Database, db_now
from core.errors import JobFailure
from core.jobs import service as jobs
from core.jobs.types.base import Outcome
from core.webhooks import endpoints
from core.webhooks.models import WebhookDelivery
from tests.core.batches.batches import job_of, make_batch, upload
from tests.core.jobs.lives import put, take


@pytest.fixture
def file_id(database: Database, project_id: str, tmp_path: Path) -> str:
    events = ["batch.completed", "batch.failed", "batch.expired", "batch.cancelled"]
    with database.transaction() as session:
        endpoints.create(session, project_id, name="h", url="https://example.com/", events=events)
    return upload(database, project_id, tmp_path, ["a", "b"])


def told(database: Database) -> list[tuple[str, str]]:
    with database.reading() as session:
        rows = session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.id))
        return [(row.type, row.payload["data"]["id"]) for row in rows]


def end(database: Database, project_id: str, batch_id: str, how: str) -> None:
    if how == "expired":
        put(database, batch_id, expires_at=db_now() - 1)
    with database.transaction() as session:
        if how in ("cancelled", "expired"):
            jobs.request_cancel(session, project_id, batch_id)
            return
    claim = take(database, batch_id)
    with database.transaction() as session:
        if how == "failed":
            jobs.fail(session, claim, JobFailure("crash", "it broke"))
        else:
            jobs.succeed(session, claim, Outcome({}, [], "nothing"))


@pytest.mark.parametrize("how", ["completed", "failed", "expired", "cancelled"])
def test_a_batch_that_ends_is_told_when_its_files_are_there(
    database: Database, project_id: str, file_id: str, how: str
) -> None:
    batch_id = make_batch(database, project_id, file_id)
    end(database, project_id, batch_id, how)
    assert told(database) == [], "its files are not there yet"
    assert finish_batches() == 1
    assert finish_batches() == 0
    assert told(database) == [(f"batch.{how}", batch_id)]
    assert status_of(life_of(job_of(database, batch_id))) == how


def test_a_batch_that_is_refused_is_told_at_once(
    database: Database, project_id: str, file_id: str
) -> None:
    order = batches.Order(file_id, "/v1/chat/completions", "24h", {})
    verdict = Verdict(total=1, model="no-such-model", first_line=1)
    with database.transaction() as session:
        batch_id = batches.create(session, project_id, order, verdict).id
    assert status_of(life_of(job_of(database, batch_id))) == "failed"
    assert told(database) == [("batch.failed", batch_id)]
