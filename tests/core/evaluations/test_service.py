"""Evaluations are found, and two are compared question by question on what both were asked."""

import pytest

from core.db import Database
from core.errors import InvalidInput, NotFound, WrongState
from core.evaluations import service
from tests.core.adapters.conftest import Making, making
from tests.core.evaluations.finished import add_evaluation
from tests.core.jobs.jobs import add_job

__all__ = ["making"]

A = [True, True, False, False, True]
B = [True, False, True, True, False]


def test_questions_are_paired_and_counted(
    database: Database, project_id: str, making: Making
) -> None:
    with database.transaction() as session:
        making(session)
        a = add_evaluation(session, project_id, "m:1", A)
        b = add_evaluation(session, project_id, "m:2", [*B, True])
    with database.reading() as session:
        table = service.contingency(session, a, b)
        won = service.differing(session, a, b, second_right=True, limit=10)
        lost = service.differing(session, a, b, second_right=False, limit=1)
    assert (table.both, table.first, table.second, table.neither) == (1, 2, 2, 0)
    assert [(one.row, other.row) for one, other in won] == [(2, 2), (3, 3)]
    assert [one.row for one, _ in lost] == [1]


def test_only_finished_evaluations_of_the_same_questions_are_compared(
    database: Database, project_id: str, making: Making
) -> None:
    with database.transaction() as session:
        making(session)
        a = add_evaluation(session, project_id, "m:1", A)
        by_id = add_evaluation(session, project_id, "m:1", A, dataset="ds_1")
        other = add_evaluation(session, project_id, "m:1", A, split="validation")
        unfinished = add_evaluation(session, project_id, "m:1", A, status="running")
        service.require_comparable(session, a, by_id)  # a dataset's name and its id are one
        with pytest.raises(InvalidInput, match="'validation'") as refused:
            service.require_comparable(session, a, other)
        assert refused.value.code == "not_comparable"
        with pytest.raises(WrongState, match="running"):
            service.require_comparable(session, a, unfinished)


def test_a_job_of_another_type_or_project_is_no_evaluation(
    database: Database, project_id: str
) -> None:
    with database.transaction() as session:
        job = add_job(session, project_id, type="merge")
        mine = add_job(session, project_id, type="evaluate", params={"model": "m:1"})
        for owner, wanted in ((project_id, job.id), ("proj_other", mine.id)):
            with pytest.raises(NotFound):
                service.get(session, owner, wanted)
        assert service.get(session, project_id, mine.id) is mine


def test_the_newest_whole_evaluation_is_what_counts(
    database: Database, project_id: str, making: Making
) -> None:
    with database.transaction() as session:
        version = making(session).version()
        dataset = service.datasets.find(session, project_id, "d")
        dataset.splits = {"test": 5}
        add_evaluation(session, project_id, version.address, [False] * 5)
        newest = add_evaluation(session, project_id, version.address, A)
        add_evaluation(session, project_id, version.address, [True])  # one question of five
        add_evaluation(session, project_id, "sql:2", [True] * 5)
        add_evaluation(session, project_id, version.address, [True] * 5, split="validation")
        found = service.newest_whole(session, project_id, version.address, dataset, "test")
        assert found is newest
        assert service.measured(found, "execution_accuracy") == 0.6
        assert service.measured(found, "valid_sql") == 1.0
