"""A migrated database and settings of their own for one test, on SQLite or PostgreSQL."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config

from core import db, queue, settings, storage

ROOT = Path(__file__).resolve().parents[1]


def alembic_config(url: str) -> Config:
    config = Config(str(ROOT / "migrations" / "alembic.ini"))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def forget_everything() -> None:
    """Settings, database, storage and broker are read once by a process; a test reads them anew."""
    settings.get_settings.cache_clear()
    storage.get_storage.cache_clear()
    queue.celery_app.cache_clear()
    queue.Away.until = 0.0
    for database in db._databases.values():
        database.dispose()
    db._databases.clear()


@contextmanager
def environment(**values: str) -> Iterator[settings.Settings]:
    """Run with these TUNEYARD_* settings and no others."""
    before = {name: text for name, text in os.environ.items() if name.startswith("TUNEYARD_")}
    for name in before:
        del os.environ[name]
    os.environ.update({f"TUNEYARD_{name.upper()}": text for name, text in values.items()})
    forget_everything()
    try:
        yield settings.get_settings()
    finally:
        for name in [name for name in os.environ if name.startswith("TUNEYARD_")]:
            del os.environ[name]
        os.environ.update(before)
        forget_everything()


def migrate(url: str, revision: str = "head") -> None:
    command.upgrade(alembic_config(url), revision)
