"""Keys: shown once, stored as a hash, good until they expire or are revoked."""

import pytest
from sqlalchemy import select, update

from core.accounts.bootstrap import ensure_admin_key
from core.accounts.models import ApiKey
from core.accounts.service import Principal, authenticate, create_key, ensure_project
from core.db import Database, db_now
from core.errors import Forbidden, Unauthenticated
from core.settings import get_settings


def make(database: Database) -> tuple[str, str]:
    with database.transaction() as session:
        key, secret = create_key(session, ensure_project(session, "p"), name="k")
        return key.id, secret


def test_the_secret_is_stored_nowhere(database: Database) -> None:
    _, secret = make(database)
    with database.reading() as session:
        row = session.scalars(select(ApiKey)).one()
        assert authenticate(session, secret)[0].project_id == row.project_id
    assert secret not in str(vars(row))


@pytest.mark.parametrize("column", ["expires_at", "revoked_at"])
def test_an_expired_or_revoked_key_is_refused(database: Database, column: str) -> None:
    key_id, secret = make(database)
    with database.transaction() as session:
        values = {column: db_now() - 1}
        session.execute(update(ApiKey).where(ApiKey.id == key_id).values(**values))
    with pytest.raises(Unauthenticated), database.reading() as session:
        authenticate(session, secret)


def test_the_first_key_is_made_once(database: Database) -> None:
    first = ensure_admin_key(get_settings())
    assert ensure_admin_key(get_settings(), first) == first
    assert ensure_admin_key(get_settings(), "ty-lost") not in (first, "ty-lost")


def test_admin_includes_write_includes_read() -> None:
    writer = Principal("k", "p", frozenset({"write"}))
    writer.require("read")
    writer.require("write")
    with pytest.raises(Forbidden, match="'admin'"):
        writer.require("admin")
