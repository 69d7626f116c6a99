"""Keys: shown once, stored as a hash, good until they expire or are revoked."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update

from core.accounts.bootstrap import ensure_admin_key
from core.accounts.models import ApiKey
from core.accounts.service import (
    Principal,
    authenticate,
    create_key,
    ensure_project,
    grant_key,
    revoke_key,
)
from core.db import Database, db_now
from core.errors import Forbidden, InvalidInput, Unauthenticated, WrongState
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


def grant(
    database: Database, principal: Principal, *scopes: str, expires_at: float | None = None
) -> tuple[ApiKey, str]:
    with database.transaction() as session:
        return grant_key(session, principal, name="k", scopes=scopes, expires_at=expires_at)


def principal_of(database: Database, secret: str) -> Principal:
    with database.reading() as session:
        return authenticate(session, secret)[0]


def test_a_key_grants_no_more_than_it_has(database: Database) -> None:
    _, secret = make(database)
    admin = principal_of(database, secret)
    writer = principal_of(database, grant(database, admin, "write")[1])
    assert writer.project_id == admin.project_id
    assert grant(database, writer, "read")[0].scopes == ["read"]
    with pytest.raises(Forbidden, match="'admin'"):
        grant(database, writer, "write", "admin")


def test_a_key_grants_no_more_time_than_it_has(database: Database) -> None:
    _, secret = make(database)
    now = time.time()
    short = grant(database, principal_of(database, secret), "admin", expires_at=now + 60)
    passing = principal_of(database, short[1])
    for later in (None, now + 61):
        with pytest.raises(InvalidInput, match="lives longer"):
            grant(database, passing, "read", expires_at=later)
    assert grant(database, passing, "read", expires_at=now + 59)[0].expires_at == now + 59
    with pytest.raises(InvalidInput, match="in the future"):
        grant(database, passing, "read", expires_at=now - 1)


def test_a_revoked_key_is_good_for_nothing_and_stays_revoked(database: Database) -> None:
    _, secret = make(database)
    admin = principal_of(database, secret)
    key, other = grant(database, admin, "write")
    with database.transaction() as session:
        first = revoke_key(session, admin.project_id, key.id).revoked_at
    with pytest.raises(Unauthenticated):
        principal_of(database, other)
    with database.transaction() as session:
        assert revoke_key(session, admin.project_id, key.id).revoked_at == first


def test_a_project_keeps_a_key_that_administers(database: Database) -> None:
    key_id, secret = make(database)
    admin = principal_of(database, secret)
    grant(database, admin, "write")
    expired, _ = grant(database, admin, "admin")
    with database.transaction() as session:
        gone = {"expires_at": db_now() - 1}
        session.execute(update(ApiKey).where(ApiKey.id == expired.id).values(**gone))
    with pytest.raises(WrongState) as refused, database.transaction() as session:
        revoke_key(session, admin.project_id, key_id)
    assert refused.value.code == "last_admin_key"
    grant(database, admin, "admin")
    with database.transaction() as session:
        revoke_key(session, admin.project_id, key_id)


def test_two_administrators_cant_revoke_each_other_at_once(database: Database) -> None:
    first, secret = make(database)
    admin = principal_of(database, secret)
    second = grant(database, admin, "admin")[0].id
    start = threading.Barrier(2)

    def revoke(key_id: str) -> str:
        start.wait()
        try:
            with database.transaction() as session:
                revoke_key(session, admin.project_id, key_id)
            return "revoked"
        except WrongState as error:
            return error.code

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(revoke, (first, second))) == ["last_admin_key", "revoked"]
