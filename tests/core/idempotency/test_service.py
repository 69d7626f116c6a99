"""A key is held by one request at a time, over all processes, and answers for another never."""

import pytest

from core.db import Database
from core.errors import Conflict
from core.idempotency import service


def test_a_key_that_another_process_works_under_is_refused_at_once(
    database: Database, project_id: str
) -> None:
    if database.engine.dialect.name == "sqlite":
        return  # there the second transaction waits for the first, as the next test has it
    with database.transaction() as first:
        assert service.begin(first, project_id, "k", "hash") is None
        with pytest.raises(Conflict, match="in progress"), database.transaction() as second:
            service.begin(second, project_id, "k", "hash")
        with database.transaction() as other:
            assert service.begin(other, project_id, "another", "hash") is None
    with database.transaction() as later:
        assert service.begin(later, project_id, "k", "hash") is None, "nothing was recorded"


def test_what_was_recorded_answers_the_same_request_alone(
    database: Database, project_id: str
) -> None:
    with database.transaction() as session:
        service.begin(session, project_id, "k", "hash")
        service.record(session, project_id, "k", "hash", status=202, body='{"a":"\\u0000"}')
    with database.transaction() as session:
        known = service.begin(session, project_id, "k", "hash")
        assert (known.status, known.body) == (202, '{"a":"\\u0000"}')
        with pytest.raises(Conflict, match="another request"):
            service.begin(session, project_id, "k", "other")


def test_a_rollback_takes_the_key_with_it(database: Database, project_id: str) -> None:
    with pytest.raises(RuntimeError), database.transaction() as session:
        service.record(session, project_id, "k", "hash", status=200, body="{}")
        raise RuntimeError
    with database.transaction() as session:
        assert service.begin(session, project_id, "k", "hash") is None


def test_two_that_record_at_once_are_one(database: Database, project_id: str) -> None:
    """Whatever let both through, the row itself is there once."""
    with database.transaction() as session:
        service.record(session, project_id, "k", "hash", status=200, body="{}")
    with pytest.raises(Conflict), database.transaction() as session:
        service.record(session, project_id, "k", "hash", status=200, body="{}")
