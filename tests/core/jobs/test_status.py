"""The table of transitions itself; the product of states is tested on databases in test_service."""

import pytest

from core.jobs.status import FINAL, TRANSITIONS, JobStatus, sources


def test_every_status_has_a_row_in_the_table() -> None:
    assert set(TRANSITIONS) == set(JobStatus)


def test_final_states_lead_nowhere() -> None:
    assert {"succeeded", "failed", "cancelled"} == FINAL


@pytest.mark.parametrize("target", JobStatus)
def test_sources_invert_the_table(target: JobStatus) -> None:
    for status in JobStatus:
        assert (status in sources(target)) == (target in TRANSITIONS[status])
