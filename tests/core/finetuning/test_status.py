"""The table of states, over every pair that the two jobs can be in."""

from itertools import product

import pytest

from core.finetuning.status import STATUS, TuningStatus, status_of
from core.jobs.status import FINAL, JobStatus

PREPARES = [None, *JobStatus]


@pytest.mark.parametrize(("train", "prepare"), list(product(JobStatus, PREPARES)))
def test_every_pair_of_states_has_one_status(train: JobStatus, prepare: JobStatus | None) -> None:
    status = status_of(train, prepare)
    validated = prepare in (None, JobStatus.SUCCEEDED)
    if train == JobStatus.QUEUED and not validated:
        assert status == TuningStatus.VALIDATING_FILES
    else:
        assert status == train.value


def test_only_a_queued_training_waits_for_its_files() -> None:
    waits = {
        train
        for train, prepare in product(JobStatus, PREPARES)
        if status_of(train, prepare) == TuningStatus.VALIDATING_FILES
    }
    assert waits == {JobStatus.QUEUED}


def test_an_ended_job_stays_what_it_is_whatever_becomes_of_its_prepare() -> None:
    for train, prepare in product(FINAL, PREPARES):
        assert status_of(train, prepare) == STATUS[train]


def test_every_status_is_reached() -> None:
    reached = {status_of(train, prepare) for train, prepare in product(JobStatus, PREPARES)}
    assert reached == set(TuningStatus)
