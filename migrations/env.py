"""Alembic's entry: the database of the settings, every table of core.

Made to run while the platform works. A change that needs a table for itself waits only shortly for
it, since whoever comes behind it waits too, and then lets the others go before it asks again.
"""

import time

from alembic import context
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

import core.tables  # noqa: F401
from core.db import Base, make_engine
from core.settings import get_settings

LOCK_SECONDS = 4
PAUSE_SECONDS = 2
PATIENCE_SECONDS = 600
"""Then a transaction is open that somebody has to look at."""


def run() -> None:
    url = context.config.get_main_option("sqlalchemy.url") or get_settings().database_url
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            _prepare(connection)
            _migrate_patiently(connection)
    finally:
        engine.dispose()  # also lets go of what `_prepare` locked


def _migrate_patiently(connection: Connection) -> None:
    # By the clock: a try takes as long as the database waits for a lock, SQLite half a minute.
    patient_until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return _migrate(connection)
        except OperationalError as error:
            connection.rollback()
            if time.monotonic() > patient_until or not _held_up(error):
                raise
            print("migrate: somebody holds a table that is to be changed; waiting", flush=True)
            time.sleep(PAUSE_SECONDS)


def _prepare(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        # Two at once would do everything twice; the second waits for the first, however long.
        connection.execute(text("SELECT pg_advisory_lock(hashtext('tuneyard:migrate'))"))
        connection.execute(text(f"SET lock_timeout = '{LOCK_SECONDS}s'"))
        connection.commit()


def _migrate(connection: Connection) -> None:
    """From where the database is to where it shall be, each step in a transaction of its own."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        # SQLite can't alter most things in place: Alembic copies the table instead.
        render_as_batch=True,
        compare_type=True,
        transaction_per_migration=True,
        transactional_ddl=True,  # on SQLite too: `core.db` begins transactions by itself
    )
    if _is_upgrade() and _is_newer(connection):
        print(
            "migrate: a newer version has migrated this database; its tables are left as they are",
            flush=True,
        )
        return
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()


def _is_upgrade() -> bool:
    """Not a way down from tables that we don't know, nor a look at what they lack."""
    return context.get_context().opts["fn"].__name__ == "upgrade"


def _is_newer(connection: Connection) -> bool:
    """Its tables work for us: what a version adds, the one before does not need to know."""
    heads = set(MigrationContext.configure(connection).get_current_heads())
    connection.rollback()
    return bool(heads - {one.revision for one in context.script.walk_revisions()})


def _held_up(error: OperationalError) -> bool:
    """PostgreSQL: a lock was not to be had, or a deadlock; SQLite: another writes."""
    state = getattr(error.orig, "sqlstate", None)
    return state in ("55P03", "40P01") or "database is locked" in str(error.orig)


run()
