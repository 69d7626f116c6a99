"""Alembic's entry: the database of the settings, every table of core.

Made to run while the platform works. A change that needs a table for itself waits only shortly for
it, since whoever comes behind it waits too, and then lets the others go before it asks again.
"""

import time

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

import core.tables  # noqa: F401
from core.db import Base, make_engine
from core.settings import get_settings

LOCK_SECONDS = 4
PAUSE_SECONDS = 2
TRIES = 100
"""Together some ten minutes; then a transaction is open that somebody has to look at."""


def run() -> None:
    url = context.config.get_main_option("sqlalchemy.url") or get_settings().database_url
    engine = make_engine(url)
    with engine.connect() as connection:
        _prepare(connection)
        for left in range(TRIES - 1, -1, -1):
            try:
                _migrate(connection)
                break
            except OperationalError as error:
                connection.rollback()
                if not left or not _held_up(error):
                    raise
                print("migrate: somebody holds a table that is to be changed; waiting", flush=True)
                time.sleep(PAUSE_SECONDS)
    engine.dispose()


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
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()


def _held_up(error: OperationalError) -> bool:
    """PostgreSQL: a lock was not to be had, or a deadlock; SQLite: another writes."""
    state = getattr(error.orig, "sqlstate", None)
    return state in ("55P03", "40P01") or "database is locked" in str(error.orig)


run()
