"""Engine, session, transaction and the database's clock. Knows no table.

Times are Unix seconds as floats, always by the database's clock (`db_now`), so that a worker
whose own clock is wrong neither steals nor extends a lease.
"""

import json
import logging
import math
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import JSON, Double, Engine, MetaData, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.functions import FunctionElement

from core.forks import CONNECTIONS
from core.postgres import make_postgres_engine
from core.settings import Settings, get_settings

log = logging.getLogger(__name__)

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

ROWS_A_STATEMENT = 1000
"""SQLite takes 32,766 values in one statement."""

Json = JSON().with_variant(JSONB(), "postgresql")


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {dict[str, Any]: Json, list[Any]: Json, float: Double()}


class db_now(FunctionElement[float]):  # noqa: N801 - reads as a SQL function
    """Unix seconds by the database's clock, also within a transaction."""

    type = Double()
    inherit_cache = True


@compiles(db_now, "sqlite")
def _sqlite_now(element: Any, compiler: Any, **kw: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(db_now, "postgresql")
def _postgresql_now(element: Any, compiler: Any, **kw: Any) -> str:
    # clock_timestamp, not now(): a transaction that waited for a lock must see the present.
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS double precision)"


# An escaped NUL, but not an escaped backslash before the letters u0000.
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def storable(text: str) -> str:
    """The text as both databases take it: PostgreSQL knows no NUL, and UTF-8 no lone surrogate."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def has_nul(text: str) -> bool:
    """Does a string in this JSON hold the character NUL?"""
    return "\\u0000" in text and _NUL.search(text) is not None


def to_json(value: Any) -> str:
    """JSON for a column; what a model or a file said is made storable, NaN and infinity null."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)
    return storable(_NUL.sub("\\1\ufffd", text))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value


def make_engine(url: str, *, statement_seconds: float | None = None) -> Engine:
    """An engine for PostgreSQL or SQLite, with what each needs to be safe under many processes."""
    if not url.startswith("sqlite"):
        return make_postgres_engine(url, statement_seconds, json_serializer=to_json)
    engine = create_engine(
        url,
        json_serializer=to_json,
        poolclass=NullPool,
        connect_args={"timeout": 30},
        hide_parameters=True,  # an error must not tell what was written: see core.postgres
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, record: Any) -> None:
    # Autocommit in the driver: `_begin_sqlite` alone decides how a transaction begins.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Any) -> None:
    # A reader that later writes would fail at once with SQLITE_BUSY (the snapshot is stale), so
    # a writer takes the lock first and waits for it by `timeout`.
    reading = connection.get_execution_options().get("tuneyard_reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


class Database:
    """One engine and its transactions."""

    def __init__(self, url: str, *, statement_seconds: float = 30) -> None:
        self.url = url
        self.engine = make_engine(url, statement_seconds=statement_seconds)
        self._readers = self.engine.execution_options(tuneyard_reading=True)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """The only place that commits. What was handed to `after_commit` runs afterwards."""
        with CONNECTIONS.one(), Session(self.engine, expire_on_commit=False) as session:
            with session.begin():
                yield session
            for call in session.info.pop("after_commit", []):
                _run_after_commit(call)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A consistent view; nothing is written, no writer waits for it."""
        with CONNECTIONS.one(), Session(self._readers, expire_on_commit=False) as session:
            yield session

    def ping(self) -> None:
        with self.reading() as session:
            session.execute(text("SELECT 1"))

    def dispose(self) -> None:
        self.engine.dispose()


def upsert(session: Session, table: type[Base], rows: list[dict[str, Any]]) -> None:
    """Insert rows, or write over those with the same primary key; all rows name the same columns.

    Two processes that write the same row at once must not make one of them fail.
    """
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    keys = [column.name for column in table.__table__.primary_key]
    for start in range(0, len(rows), ROWS_A_STATEMENT):
        some = rows[start : start + ROWS_A_STATEMENT]
        statement = dialect.insert(table).values(some)
        changed = {name: statement.excluded[name] for name in some[0] if name not in keys}
        session.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed))


def _run_after_commit(call: Callable[[], None]) -> None:
    try:
        call()
    except Exception:
        # The commit stands: whoever made it must not take this for a rollback. What such a call
        # does (ring for a job, delete bytes) the sweep does again.
        log.exception("a call after a commit failed")


def after_commit(session: Session, call: Callable[[], None]) -> None:
    """Run `call` once the transaction is committed; a rollback discards it."""
    session.info.setdefault("after_commit", []).append(call)


def exclusive(session: Session, name: str) -> None:
    """Hold the named lock until the transaction ends. On SQLite a writer is alone already."""
    if session.get_bind().dialect.name == "postgresql":
        # A holder that is frozen must not hang everybody else for ever.
        session.execute(text("SET LOCAL lock_timeout = '10s'"))
        session.execute(
            text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": f"tuneyard:{name}"}
        )


_lock = threading.Lock()
_databases: dict[str, Database] = {}


def get_database(settings: Settings | None = None) -> Database:
    """The process's database; made once for a URL."""
    settings = settings or get_settings()
    url = settings.database_url
    with _lock:
        if url not in _databases:
            seconds = settings.database_timeout_seconds
            _databases[url] = Database(url, statement_seconds=seconds)
        return _databases[url]


def forget_databases() -> None:
    """After a fork: the parent's connections are the parent's."""
    with _lock:
        for database in _databases.values():
            database.engine.dispose(close=False)
        _databases.clear()
