"""What of a database's schema may have been meant by a name that it does not know.

Knows names and the wording of SQLite and PostgreSQL (in English; of another, only what there is is
told); no statement and no rows.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches

from core.sql.errors import SqlError
from core.sql.schema import Schema, Table

_SHOWN = 8  # names of a long list
_MISSING = (
    re.compile(r"no such \w+: (?P<name>.+)$"),
    re.compile(r'^\w+ "?(?P<name>[^\s"]+)"? does not exist'),
)


def advice(error: SqlError, schema: Schema) -> str | None:
    """What would be right instead of the unknown table or column; None for other errors and for an
    empty schema."""
    name = _missing(error.message)
    if error.klass == "unknown_table":
        return _table(name, schema)
    if error.klass == "unknown_column" and name is not None:
        return _column(name, schema)
    return None


def _table(name: str | None, schema: Schema) -> str | None:
    tables = {_last(table.name): _shown_table(table) for table in schema.tables}
    if close := _close(name, tables):
        return f"perhaps {' or '.join(tables[key] for key in close)} is meant"
    return f"the database has {_listed([*tables.values()])}" if tables else None


def _column(name: str, schema: Schema) -> str | None:
    """Several tables often have a column of that name: each is told."""
    columns: dict[str, list[str]] = {}
    for key, shown in _columns(schema):
        columns.setdefault(key, []).append(shown)
    close = [shown for key in _close(name, columns) for shown in columns[key]]
    return f"perhaps {_listed(close, last=' or ')} is meant" if close else None


def _columns(schema: Schema) -> Iterator[tuple[str, str]]:
    for table in schema.tables:
        for column in table.columns:
            yield _last(column.name), f"{_shown_table(table)}.{column.name}"


def _missing(message: str) -> str | None:
    found = next((match for part in _MISSING if (match := part.search(message))), None)
    return found["name"] if found else None


def _last(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _close(name: str | None, known: Iterable[str]) -> list[str]:
    return [] if name is None else get_close_matches(_last(name), known, n=2)


def _shown_table(table: Table) -> str:
    return f"{table.namespace}.{table.name}" if table.namespace else table.name


def _listed(names: Sequence[str], last: str = ", ") -> str:
    if len(names) > _SHOWN:
        return f"{', '.join(names[:_SHOWN])} and {len(names) - _SHOWN} more"
    return ", ".join(names[:-1]) + (last if len(names) > 1 else "") + names[-1]
