"""Every state of a job is one state of a batch, whatever it was told and with files or without."""

from itertools import product

import pytest

from core.batches.status import TABLE, BatchStatus, Life, Stop, moments, status_of
from core.jobs.status import FINAL, JobStatus

EXPIRES = 1000.0
WISHES = {Stop.NONE: None, Stop.CANCEL: 500.0, Stop.EXPIRY: 1001.0}
LIVES = list(product(JobStatus, Stop, (False, True), (False, True)))


def life(status: JobStatus, stop: Stop, begun: bool, finalized: bool) -> Life:
    return Life(
        status=status,
        expires_at=EXPIRES,
        started_at=100.0 if begun else None,
        cancel_requested_at=WISHES[stop],
        finished_at=(WISHES[stop] or 900.0) + 10 if status in FINAL else None,
        finalized_at=1200.0 if finalized else None,
    )


def test_the_table_is_the_whole_product():
    assert set(TABLE) == set(product(JobStatus, Stop))


@pytest.mark.parametrize("status, stop, begun, finalized", LIVES)
def test_a_batch_has_the_moment_of_the_state_in_which_it_is(status, stop, begun, finalized):
    one = life(status, stop, begun, finalized)
    now, found = status_of(one), moments(one)
    assert set(found) == {f"{other}_at" for other in BatchStatus if other != "validating"}
    if now == BatchStatus.VALIDATING:
        assert not begun and status not in FINAL and stop == Stop.NONE
    elif begun:
        assert found[f"{now}_at"] is not None
    reached = [found[f"{name}_at"] for name in ("in_progress", "cancelling", "finalizing")]
    reached.append(found[f"{now}_at"] if finalized and status in FINAL else None)
    known = [moment for moment in reached if moment is not None]
    assert known == sorted(known), "one state comes after another"


@pytest.mark.parametrize("status, stop, begun, finalized", LIVES)
def test_only_an_ended_job_with_its_files_is_an_ended_batch(status, stop, begun, finalized):
    ended = {BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.EXPIRED, BatchStatus.CANCELLED}
    found = status_of(life(status, stop, begun, finalized))
    assert (found in ended) == (status in FINAL and finalized)


@pytest.mark.parametrize(
    "status, stop, until, then",
    [
        ("succeeded", Stop.NONE, "finalizing", "completed"),
        ("succeeded", Stop.CANCEL, "finalizing", "completed"),
        ("failed", Stop.NONE, "finalizing", "failed"),
        ("cancelled", Stop.CANCEL, "cancelling", "cancelled"),
        ("cancelled", Stop.EXPIRY, "finalizing", "expired"),
    ],
)
def test_how_a_batch_ends(status, stop, until, then):
    assert status_of(life(JobStatus(status), stop, True, False)) == until
    assert status_of(life(JobStatus(status), stop, True, True)) == then


def test_a_batch_that_waits_is_validating_and_one_that_was_begun_is_in_progress():
    assert status_of(life(JobStatus.QUEUED, Stop.NONE, False, False)) == "validating"
    for status in (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PAUSED):
        assert status_of(life(status, Stop.NONE, True, False)) == "in_progress"


def test_a_job_that_ended_at_once_was_stopped_by_whoever_was_in_time():
    """Nobody worked on it, so there is no wish: the moment of its end tells."""
    early = Life(JobStatus.CANCELLED, EXPIRES, finished_at=999.0, finalized_at=1200.0)
    late = Life(JobStatus.CANCELLED, EXPIRES, finished_at=1000.5, finalized_at=1200.0)
    assert status_of(early) == "cancelled"
    assert moments(early)["cancelling_at"] == 999.0
    assert status_of(late) == "expired"
    assert moments(late)["expired_at"] == 1200.0


def test_a_file_that_was_refused_leaves_a_failed_batch_that_was_never_begun():
    refused = Life(JobStatus.FAILED, EXPIRES, finished_at=10.0, finalized_at=10.0)
    assert status_of(refused) == "failed"
    assert {name for name, at in moments(refused).items() if at} == {"failed_at"}
