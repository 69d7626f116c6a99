"""Queries of a registered database from this process, for an endpoint. Knows where copies lie."""

from collections.abc import Iterator
from contextlib import contextmanager

from core.databases.models import TargetDatabase
from core.databases.service import dsn_of
from core.settings import get_settings
from core.sql.runner import Runner
from core.sql.target import open_target
from core.storage import get_storage


@contextmanager
def ask(database: TargetDatabase) -> Iterator[Runner]:
    """A runner in which SQL of unknown origin may run. Hold no transaction meanwhile: a query may
    take its time."""
    folder = get_settings().data_dir
    scratch = folder / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    file, dsn = None, None
    if database.storage_key is not None:
        file = get_storage().fetch(database.storage_key, folder / "cache" / f"{database.id}.sqlite")
    else:
        dsn = dsn_of(database)
    with open_target(file, dsn, scratch=scratch) as runner:
        yield runner
