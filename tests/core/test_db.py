"""A transaction commits whole or not at all; what comes after it can't undo it."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError

from core.accounts.models import Project
from core.accounts.service import ensure_project
from core.db import Database, after_commit, db_now
from tests.faults.blackhole import Blackhole, blackhole
from tests.servers import postgres_host


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
    with database.transaction() as session:
        first = session.scalar(select(db_now()))
        time.sleep(0.05)
        second = session.scalar(select(db_now()))
    assert second > first
    assert abs(first - time.time()) < 60


# -- PostgreSQL that says nothing ----------------------------------------------------------------


@pytest.fixture
def between(postgres_server_url: str) -> Iterator[Blackhole]:
    with blackhole(path=f"{postgres_host(postgres_server_url)}/.s.PGSQL.5432") as made:
        yield made


def impatient(port: int) -> Database:
    return Database(f"postgresql://postgres@127.0.0.1:{port}/postgres", statement_seconds=0.5)


def ask(database: Database, sql: str = "SELECT 1") -> Any:
    with database.reading() as session:
        return session.scalar(text(sql))


def test_an_answer_that_never_comes_is_not_waited_for(between: Blackhole) -> None:
    database = impatient(between.port)
    with database.reading() as session:
        assert session.scalar(text("SELECT 1")) == 1
        between.silent()  # its kernel takes what is sent, so that no keepalive notices
        begun = time.monotonic()
        with pytest.raises(OperationalError, match="said nothing"):
            session.scalar(text("SELECT 2"))
    assert time.monotonic() - begun < 30
    between.whole()
    assert ask(database) == 1, "the pool takes a new connection"
    database.dispose()


def test_a_statement_that_takes_too_long_is_ended_by_the_server(between: Blackhole) -> None:
    database = impatient(between.port)
    with pytest.raises(OperationalError, match="statement timeout"):
        ask(database, "SELECT pg_sleep(60)")
    assert ask(database) == 1
    database.dispose()


def test_a_client_frozen_within_a_transaction_holds_its_locks_for_a_while_only(
    between: Blackhole,
) -> None:
    database = impatient(between.port)
    with database.transaction() as session:
        session.execute(text("CREATE TABLE IF NOT EXISTS locked (id int)"))
    frozen = database.engine.connect()
    frozen.execute(text("LOCK TABLE locked"))
    wait_for_lock = "SELECT count(*) FROM locked"
    with pytest.raises(OperationalError):
        ask(database, wait_for_lock)
    time.sleep(2)  # longer than a transaction may be idle
    assert ask(database, wait_for_lock) == 0
    frozen.invalidate()
    frozen.close()
    database.dispose()
