"""One way to a database that questions are about, whatever its kind: a SQLite file or a DSN."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.sql.execute import SqlRunner
from core.sql.postgres.runner import PostgresRunner
from core.sql.runner import Runner


@contextmanager
def open_target(file: Path | None, dsn: str | None, *, scratch: Path) -> Iterator[Runner | None]:
    """Queries of it, or None where there is neither. `scratch` is where copies may go."""
    if dsn is not None:
        with PostgresRunner(dsn) as runner:
            yield runner
    elif file is not None:
        with SqlRunner(file, scratch=scratch) as runner:
            yield runner
    else:
        yield None
