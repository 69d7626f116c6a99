"""However a batch ends, what it has becomes its files, once; what it lacks is named in them."""

import threading
import tracemalloc
from pathlib import Path
from unittest.mock import ANY

import pytest
from sqlalchemy import select

from core.batches import finishing, output, service
from core.batches.finishing import FinishedAlready, finish, finish_batches
from core.batches.service import counts_of, life_of
from core.batches.status import status_of
from core.batches.validation import Verdict
from core.db import Database
from core.errors import InvalidInput, JobFailure, WrongState
from core.files import service as files
from core.files.models import File
from core.jobs import records
from core.jobs import service as jobs
from core.jobs.models import Job, ResultRow
from core.jobs.sweep import sweep
from core.jobs.types import models
from core.jobs.types.base import Outcome
from core.storage import get_storage
from tests.core.batches.batches import answer, job_of, lines_of, make_batch, outputs, upload
from tests.core.jobs.lives import put, take
from tests.core.plans import plans

NAMES = ["a", "b", "客", "d", "e"]


@pytest.fixture
def file_id(database: Database, project_id: str, tmp_path: Path) -> str:
    return upload(database, project_id, tmp_path, NAMES)


@pytest.fixture
def batch_id(database: Database, project_id: str, file_id: str) -> str:
    return make_batch(database, project_id, file_id)


def succeed(database: Database, claim) -> None:
    with database.transaction() as session:
        jobs.succeed(session, claim, Outcome({}, [], "nothing"))


def files_of(database: Database, batch_id: str) -> tuple[list[dict], list[dict]]:
    request = job_of(database, batch_id).request
    return (
        lines_of(database, request.get("output_file_id")),
        lines_of(database, request.get("error_file_id")),
    )


def test_a_batch_that_is_done_is_finalizing_until_it_has_its_files(
    database: Database, batch_id: str
) -> None:
    assert status_of(life_of(job_of(database, batch_id))) == "validating"
    claim = take(database, batch_id)
    answer(database, claim, dict(enumerate(NAMES)))
    succeed(database, claim)
    assert status_of(life_of(job_of(database, batch_id))) == "finalizing"
    assert finish_batches() == 1
    job = job_of(database, batch_id)
    assert status_of(life_of(job)) == "completed"
    assert counts_of(job) == {"total": 5, "completed": 5, "failed": 0}
    assert job.request["usage"] == {"input": 50, "output": 10}
    good, bad = files_of(database, batch_id)
    assert [one["custom_id"] for one in good] == NAMES, "in the order of the input"
    assert list(good[0]) == ["id", "custom_id", "response", "error"]
    assert good[0]["response"]["status_code"] == 200
    assert bad == []
    assert "error_file_id" not in job.request


def test_lines_with_an_error_go_to_a_file_of_their_own(database: Database, batch_id: str) -> None:
    claim = take(database, batch_id)
    answer(database, claim, dict(enumerate(NAMES)))
    refused = output.refused("b", "too long", code="context_length_exceeded", param="messages")
    with database.transaction() as session:
        session.merge(ResultRow(job_id=batch_id, row=1, data=refused))
    succeed(database, claim)
    finish_batches()
    good, bad = files_of(database, batch_id)
    assert [one["custom_id"] for one in good] == ["a", "客", "d", "e"]
    assert [one["custom_id"] for one in bad] == ["b"]
    assert bad[0]["response"]["status_code"] == 400
    assert bad[0]["response"]["body"]["error"]["code"] == "context_length_exceeded"
    assert counts_of(job_of(database, batch_id)) == {"total": 5, "completed": 4, "failed": 1}


def test_a_cancelled_batch_keeps_what_it_has(
    database: Database, project_id: str, batch_id: str
) -> None:
    claim = take(database, batch_id)
    answer(database, claim, {1: "b", 3: "d"})
    with database.transaction() as session:
        service.cancel(session, project_id, batch_id)
    assert status_of(life_of(job_of(database, batch_id))) == "cancelling"
    assert finish_batches() == 0, "a worker is still at it"
    with database.transaction() as session:
        jobs.cancelled(session, claim)
    assert status_of(life_of(job_of(database, batch_id))) == "cancelling"
    finish_batches()
    job = job_of(database, batch_id)
    assert status_of(life_of(job)) == "cancelled"
    good, bad = files_of(database, batch_id)
    assert [one["custom_id"] for one in good] == ["b", "d"]
    assert [one["custom_id"] for one in bad] == ["a", "客", "e"]
    assert {one["error"]["code"] for one in bad} == {"batch_cancelled"}
    assert bad[0]["response"] is None
    assert counts_of(job) == {"total": 5, "completed": 2, "failed": 3}
    with pytest.raises(WrongState) as refused, database.transaction() as session:
        service.cancel(session, project_id, batch_id)
    assert refused.value.code == "batch_not_cancellable"


def test_a_batch_whose_window_is_over_is_stopped_and_keeps_what_it_has(
    database: Database, batch_id: str
) -> None:
    claim = take(database, batch_id)
    answer(database, claim, {0: "a"})
    sweep()
    assert job_of(database, batch_id).cancel_requested_at is None, "it is not over yet"
    put(database, batch_id, expires_at=1.0)
    sweep()
    job = job_of(database, batch_id)
    assert job.cancel_requested_at is not None
    assert status_of(life_of(job)) == "finalizing"
    with database.transaction() as session:
        jobs.cancelled(session, claim)
    finish_batches()
    assert status_of(life_of(job_of(database, batch_id))) == "expired"
    good, bad = files_of(database, batch_id)
    assert [one["custom_id"] for one in good] == ["a"]
    assert {one["error"]["code"] for one in bad} == {"batch_expired"}


@pytest.mark.parametrize("held", ["queued", "paused"])
def test_a_batch_that_nobody_works_on_expires_at_once(
    database: Database, project_id: str, batch_id: str, held: str
) -> None:
    if held == "paused":
        with database.transaction() as session:
            jobs.request_pause(session, project_id, batch_id)
    put(database, batch_id, expires_at=1.0)
    sweep()
    assert job_of(database, batch_id).status == "cancelled"
    finish_batches()
    assert status_of(life_of(job_of(database, batch_id))) == "expired"
    good, bad = files_of(database, batch_id)
    assert good == []
    assert [one["custom_id"] for one in bad] == NAMES


def test_a_batch_whose_work_broke_keeps_what_it_has_and_says_why(
    database: Database, batch_id: str
) -> None:
    claim = take(database, batch_id)
    answer(database, claim, {0: "a"})
    with database.transaction() as session:
        jobs.fail(session, claim, JobFailure("config", "the model can't be loaded"))
    finish_batches()
    assert status_of(life_of(job_of(database, batch_id))) == "failed"
    good, bad = files_of(database, batch_id)
    assert [one["custom_id"] for one in good] == ["a"]
    assert "the model can't be loaded" in bad[0]["error"]["message"]


def test_two_keepers_at_once_make_the_files_once(
    database: Database, batch_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have written theirs when the first of them takes them into the record."""
    claim = take(database, batch_id)
    answer(database, claim, {0: "a"})
    succeed(database, claim)
    both_have_written = threading.Barrier(2, timeout=30)
    write_files = finishing.write_files
    ends = []

    def write(*given):
        found = write_files(*given)
        both_have_written.wait()
        return found

    monkeypatch.setattr(finishing, "write_files", write)

    def run() -> None:
        try:
            finish(batch_id)
            ends.append("made")
        except FinishedAlready:
            ends.append("too late")

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ends) == ["made", "too late"]
    made = outputs(database)
    assert len(made) == 2, "one of answers and one of what was not asked"
    stored = [found.key for found in get_storage().walk("projects")]
    with database.reading() as session:
        named = [row.storage_key for row in session.query(File)]
    assert sorted(stored) == sorted(named), "what the late one wrote is gone"
    assert finish_batches() == 0


def test_a_storage_that_is_away_is_tried_again(
    database: Database, batch_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = take(database, batch_id)
    answer(database, claim, {0: "a"})
    succeed(database, claim)
    put_file = type(get_storage()).put

    def away(*given, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(type(get_storage()), "put", away)
    assert finish_batches() == 0
    assert status_of(life_of(job_of(database, batch_id))) == "finalizing"
    monkeypatch.setattr(type(get_storage()), "put", put_file)
    assert finish_batches() == 1


def test_files_expire_as_the_batch_was_asked(
    database: Database, project_id: str, file_id: str
) -> None:
    batch_id = make_batch(database, project_id, file_id, output_seconds=3600)
    claim = take(database, batch_id)
    answer(database, claim, {0: "a"})
    succeed(database, claim)
    finish_batches()
    for file in outputs(database):
        assert file.expires_at - file.created_at == 3600
        assert file.filename.startswith(batch_id)


def test_the_input_of_an_ended_batch_stays_until_its_files_are_made(
    database: Database, project_id: str, file_id: str, batch_id: str
) -> None:
    with database.transaction() as session:
        service.cancel(session, project_id, batch_id)
        session.get_one(File, file_id).expires_at = 1.0
    with database.transaction() as session:
        assert files.drop_expired(session, most=9) == 0
    with pytest.raises(WrongState, match=batch_id) as refused, database.transaction() as session:
        files.delete(session, project_id, file_id)
    assert refused.value.code == "file_in_use"
    finish_batches()
    good, bad = files_of(database, batch_id)
    assert (good, [one["custom_id"] for one in bad]) == ([], NAMES)
    with database.transaction() as session:
        files.delete(session, project_id, file_id)


def test_a_batch_whose_input_is_lost_has_the_answered_lines(
    database: Database, project_id: str, file_id: str, batch_id: str
) -> None:
    claim = take(database, batch_id)
    answer(database, claim, {2: "客"})
    with database.transaction() as session:
        service.cancel(session, project_id, batch_id)
        jobs.cancelled(session, claim)
        files.drop_bytes(session, file_id)
    finish_batches()
    good, bad = files_of(database, batch_id)
    assert ([one["custom_id"] for one in good], bad) == (["客"], [])


def test_what_is_wrong_with_the_model_is_the_batchs_error_and_no_job_waits(
    database: Database, project_id: str, tmp_path: Path
) -> None:
    file_id = upload(database, project_id, tmp_path, ["a"])
    with database.transaction() as session:
        verdict = Verdict(total=1, model="nope", first_line=1)
        order = service.Order(file_id, "/v1/chat/completions", "24h", {})
        job = service.create(session, project_id, order, verdict)
    assert job.status == "failed"
    assert status_of(life_of(job)) == "failed"
    assert job.request["errors"] == {
        "object": "list",
        "data": [{"code": "model_not_found", "message": ANY, "line": 1, "param": "body.model"}],
        "total": 1,
    }
    assert finish_batches() == 0, "there is nothing to make files of"


def test_a_model_that_goes_in_the_very_moment_leaves_one_batch_that_failed(
    database: Database, project_id: str, file_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise InvalidInput("It was deleted.", param="model", code="model_not_found")

    monkeypatch.setattr(models, "hold_model", gone)
    batch_id = make_batch(database, project_id, file_id)
    with database.reading() as session:
        [job] = session.scalars(select(Job))
    assert (job.id, job.status) == (batch_id, "failed")
    assert job.request["errors"]["data"][0]["code"] == "model_not_found"


def test_batches_without_files_are_found_among_all_that_have_them(
    database: Database, batch_id: str
) -> None:
    claim = take(database, batch_id)
    succeed(database, claim)
    with database.reading() as session:
        waiting = finishing._unfinished(session)
        assert session.scalars(waiting).all() == [batch_id]
        [found] = plans(session, lambda session: session.scalars(waiting))
    assert "ix_jobs_unfinished_batches" in found
    assert finish_batches() == 1
    with database.reading() as session:
        assert session.scalars(waiting).all() == []


@pytest.mark.parametrize("window", ["24h", "1h", "30m", "168h"])
def test_a_window_is_hours_or_minutes(window: str) -> None:
    assert service.seconds_of(window) == int(window[:-1]) * {"h": 3600, "m": 60}[window[-1]]


@pytest.mark.parametrize("window", ["", "24", "h", "0h", "-1h", "1d", "169h", "１h", "1.5h"])
def test_another_window_is_refused(window: str) -> None:
    with pytest.raises(ValueError, match="24h"):
        service.seconds_of(window)


def test_a_file_that_is_no_batchs_is_refused(
    database: Database, project_id: str, file_id: str
) -> None:
    with database.transaction() as session:
        session.get_one(File, file_id).purpose = "fine-tune"
    with database.reading() as session, pytest.raises(InvalidInput) as refused:
        service.input_of(session, project_id, file_id)
    assert (refused.value.param, refused.value.code) == ("input_file_id", "invalid_purpose")


@pytest.mark.parametrize(
    ("count", "size", "at_once", "most"),
    [(3000, 4000, 1000, 4_000_000), (30, 2_000_000, 1, 24_000_000)],
    ids=["many", "large"],
)
def test_the_files_of_many_or_large_rows_are_made_in_the_memory_of_a_few(
    database: Database, project_id: str, tmp_path: Path, count, size, at_once, most
) -> None:
    file_id = upload(database, project_id, tmp_path, (f"request-{n}" for n in range(count)))
    batch_id = make_batch(database, project_id, file_id)
    claim = take(database, batch_id)
    body = {"usage": {"prompt_tokens": 1, "completion_tokens": 1}, "text": "x" * size}
    for start in range(0, count, at_once):
        numbers = range(start, start + at_once)
        rows = {row: output.answered(f"request-{row}", body) for row in numbers}
        with database.transaction() as session:
            records.write_report(session, claim, records.Report(rows=rows), log_seq=0)
    succeed(database, claim)
    tracemalloc.start()
    try:
        finish(batch_id)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    [made] = outputs(database)
    assert made.bytes > count * size
    assert peak < most, f"{peak:,} bytes"
