"""A transaction commits whole or not at all; what comes after it can't undo it."""

import pytest
from sqlalchemy import func, select

from core.accounts.models import Project
from core.accounts.service import ensure_project
from core.db import Database, after_commit, db_now


def projects(database: Database) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(Project))


def test_an_error_rolls_back_and_discards_what_was_to_come_after(database: Database) -> None:
    called: list[str] = []
    with pytest.raises(RuntimeError), database.transaction() as session:
        ensure_project(session, "p")
        after_commit(session, lambda: called.append("x"))
        raise RuntimeError
    assert (projects(database), called) == (0, [])


def test_what_comes_after_the_commit_runs_once_and_its_error_is_nobodys(database: Database) -> None:
    called: list[str] = []

    def breaks() -> None:
        called.append("breaks")
        raise RuntimeError

    with database.transaction() as session:
        ensure_project(session, "p")
        after_commit(session, breaks)
        after_commit(session, lambda: called.append("next"))
    assert (projects(database), called) == (1, ["breaks", "next"])


def test_the_clock_moves_within_a_transaction(database: Database) -> None:
    import time

    with database.transaction() as session:
        first = session.scalar(select(db_now()))
        time.sleep(0.05)
        second = session.scalar(select(db_now()))
    assert second > first
    assert abs(first - time.time()) < 60
