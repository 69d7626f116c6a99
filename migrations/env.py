"""Alembic's entry: the database of the settings, every table of core."""

from alembic import context

import core.tables  # noqa: F401
from core.db import Base, make_engine
from core.settings import get_settings


def run() -> None:
    url = context.config.get_main_option("sqlalchemy.url") or get_settings().database_url
    engine = make_engine(url)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            # SQLite can't alter most things in place: Alembic copies the table instead.
            render_as_batch=True,
            compare_type=True,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    engine.dispose()


run()
