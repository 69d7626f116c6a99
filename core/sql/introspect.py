"""Reads the schema of a SQLite file that may be broken or hostile. Knows SQLite's catalogue only.

Every statement runs in the sandbox (`execute`), with a few reading PRAGMAs allowed besides, so a
view that never ends or a file that crashes SQLite costs a time limit, never this process.
`core.sql.postgres.introspect` returns the same `Schema` of another kind of database.
"""

import time
from pathlib import Path

from core.errors import InvalidInput
from core.settings import get_settings
from core.sql.comments import comments_of
from core.sql.execute import Limits, Outcome, SqlRunner
from core.sql.samples import LOOKED_AT, PATIENCE, SAMPLED_ROWS, chosen
from core.sql.schema import Column, ForeignKey, Schema, Table

MAX_TABLES, MAX_COLUMNS = 500, 5000  # beyond these no prompt holds the schema
_MAGIC = b"SQLite format 3\x00"
_PRAGMAS = ("quick_check", "table_list", "table_xinfo", "foreign_key_list")
_LIMITS = Limits(seconds=5.0)
_NUMERIC = ("INT", "REAL", "FLOA", "DOUB", "NUM", "DEC", "BOOL", "BLOB")


def introspect_sqlite(path: Path, *, scratch: Path | None = None) -> Schema:
    """The tables, columns, keys, comments and sample values of the file.

    Raises InvalidInput if the file is no SQLite database, is damaged, empty or too large.
    `scratch` is a folder for the private copy that is read.
    """
    _check_file(path)
    with SqlRunner(path, limits=_LIMITS, scratch=scratch, pragmas=_PRAGMAS) as runner:
        _check_pages(runner)
        listed = _listed(runner)
        until = time.monotonic() + PATIENCE
        tables = tuple(_table(runner, *entry, until=until) for entry in listed)
    if sum(len(table.columns) for table in tables) > MAX_COLUMNS:
        raise InvalidInput(f"the database has more than {MAX_COLUMNS} columns", param="database")
    return Schema(_with_targets(tables))


def _check_file(path: Path) -> None:
    size = path.stat().st_size if path.is_file() else 0
    if size == 0:
        raise InvalidInput("the database file is empty or missing", param="database")
    if size > (most := get_settings().max_database_bytes):
        raise InvalidInput(
            f"the database has {size} bytes; at most {most} are taken", param="database"
        )
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise InvalidInput(
                "this is no SQLite database file (an SQL dump? load it with sqlite3 first)",
                param="database",
            )


def _check_pages(runner: SqlRunner) -> None:
    """Refuse a damaged file; one too large to be checked in time is let pass."""
    outcome = runner.run("PRAGMA quick_check(1)")
    if outcome.error is None and outcome.rows == [("ok",)]:
        return
    if outcome.error is not None and outcome.error.klass == "timeout":
        return
    what = outcome.error.message if outcome.error else str(outcome.rows[0][0])
    raise InvalidInput(f"the database file is damaged: {what[:200]}", param="database")


def _listed(runner: SqlRunner) -> list[tuple[str, str, str]]:
    """(name, kind, CREATE text) of every table and view that holds the user's data."""
    outcome = runner.run(
        "SELECT m.name, l.type, coalesce(m.sql, '') FROM sqlite_master m"
        " JOIN pragma_table_list l ON l.name = m.name AND l.schema = 'main'"
        " WHERE m.type IN ('table', 'view') AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        " AND l.type IN ('table', 'view', 'virtual') ORDER BY m.rowid"
    )
    rows = _rows(outcome, "its list of tables")
    if not rows:
        raise InvalidInput("the database has no tables", param="database")
    if len(rows) > MAX_TABLES:
        raise InvalidInput(
            f"the database has {len(rows)} tables; at most {MAX_TABLES} are taken", param="database"
        )
    return rows


def _table(runner: SqlRunner, name: str, kind: str, ddl: str, *, until: float) -> Table:
    described = runner.run(f"PRAGMA table_xinfo({_text(name)})")
    if kind == "view" and described.error:  # a view over what no longer exists
        return Table(name, (), is_view=True)
    info = [row for row in _rows(described, f"table {name}") if row[6] in (0, 2, 3)]
    about, about_columns = comments_of(ddl) if kind == "table" else ("", {})
    plain = kind != "view"  # reading a view may take any time: it is neither counted nor sampled
    columns = []
    for _, column, type_, *_ in info:
        values, codes = _samples(runner, name, column, type_, until=until) if plain else ((), False)
        columns.append(Column(column, type_, about_columns.get(column, ""), values, codes))
    keyed = sorted((row[5], row[1]) for row in info if row[5])
    return Table(
        name=name,
        columns=tuple(columns),
        comment=about,
        primary_key=tuple(column for _, column in keyed),
        foreign_keys=_foreign_keys(runner, name),
        row_count=_row_count(runner, name, until=until) if plain else None,
        is_view=not plain,
    )


def _samples(
    runner: SqlRunner, table: str, column: str, type_: str, *, until: float
) -> tuple[tuple[str, ...], bool]:
    """The frequent texts of a column that the schema shows, and whether these are codes."""
    if any(part in type_.upper() for part in _NUMERIC) or time.monotonic() > until:
        return (), False
    name = _quoted(column)
    outcome = runner.run(
        f"SELECT v FROM (SELECT {name} AS v FROM {_quoted(table)} LIMIT {SAMPLED_ROWS})"
        " WHERE typeof(v) = 'text' AND trim(v) <> ''"
        f" GROUP BY v ORDER BY count(*) DESC, v LIMIT {LOOKED_AT}"
    )
    return chosen([value for (value,) in outcome.rows])


def _row_count(runner: SqlRunner, table: str, *, until: float) -> int | None:
    if time.monotonic() > until:
        return None
    outcome = runner.run(f"SELECT count(*) FROM {_quoted(table)}")
    return outcome.rows[0][0] if outcome.rows else None


def _foreign_keys(runner: SqlRunner, table: str) -> tuple[ForeignKey, ...]:
    outcome = runner.run(f"PRAGMA foreign_key_list({_text(table)})")
    keys: dict[int, list[tuple]] = {}
    for number, _, target, column, target_column, *_ in outcome.rows:
        keys.setdefault(number, []).append((column, target, target_column))
    return tuple(
        ForeignKey(
            columns=tuple(part[0] for part in parts),
            table=parts[0][1],
            targets=tuple(part[2] for part in parts if part[2] is not None),
        )
        for _, parts in sorted(keys.items(), reverse=True)  # SQLite numbers them from the last
    )


def _with_targets(tables: tuple[Table, ...]) -> tuple[Table, ...]:
    """`REFERENCES t` without columns means the primary key of t: say so."""
    keys = {table.name.lower(): table.primary_key for table in tables}

    def completed(key: ForeignKey) -> ForeignKey:
        return ForeignKey(key.columns, key.table, key.targets or keys.get(key.table.lower(), ()))

    return tuple(
        Table(**vars(table) | {"foreign_keys": tuple(map(completed, table.foreign_keys))})
        for table in tables
    )


def _rows(outcome: Outcome, what: str) -> list[tuple]:
    if outcome.error is not None:
        raise InvalidInput(
            f"the database file can't be read ({what}): {outcome.error.message}", param="database"
        )
    return outcome.rows


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"
