"""Reads the schema of a PostgreSQL database. Knows PostgreSQL's catalogue only.

It sees what the role may read: tables, views, materialised views and foreign tables of every
schema. Those on the role's search path have their bare names, others bear their schema's. The
answer is a `Schema`, as `core.sql.introspect` makes one of a SQLite file.
"""

import json
import time
from collections import defaultdict

from core.errors import InvalidInput
from core.sql.introspect import MAX_COLUMNS, MAX_TABLES
from core.sql.postgres.role import rows_of
from core.sql.postgres.runner import PostgresRunner
from core.sql.samples import LOOKED_AT, PATIENCE, SAMPLED_ROWS, chosen
from core.sql.schema import Column, ForeignKey, Schema, Table

_LONGEST_COMMENT = 200
_COUNTED_ROWS = 1_000_000  # a table with more, by the server's estimate, is not counted
# What a person made, and the role may read; an extension's own views are not data.
_READABLE = """
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace {joins}
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
        AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
        AND has_schema_privilege(n.oid, 'USAGE') AND has_any_column_privilege(c.oid, 'SELECT')
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
            AND d.objid = c.oid AND d.deptype = 'e')
"""
_TABLES = f"""
    SELECT c.oid, CASE WHEN pg_table_is_visible(c.oid) THEN '' ELSE n.nspname::text END,
        c.relname::text, c.relkind::text, c.reltuples, obj_description(c.oid, 'pg_class')
    {_READABLE.format(joins="")}
    ORDER BY pg_table_is_visible(c.oid) DESC, n.nspname, c.oid LIMIT {MAX_TABLES + 1}
"""
_ATTRIBUTES = "JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid"
_COLUMNS = f"""
    SELECT c.oid, a.attname::text, format_type(a.atttypid, NULL), t.typcategory::text,
        col_description(c.oid, a.attnum),
        (SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder)::text FROM pg_enum e
            WHERE e.enumtypid = a.atttypid)
    {_READABLE.format(joins=_ATTRIBUTES)}
        AND a.attnum > 0 AND NOT a.attisdropped AND has_column_privilege(c.oid, a.attnum, 'SELECT')
    ORDER BY c.oid, a.attnum LIMIT {MAX_COLUMNS + 1}
"""
_NAMES = """
    (SELECT json_agg(a.attname ORDER BY u.place)::text
        FROM unnest(k.{numbers}) WITH ORDINALITY AS u(number, place)
        JOIN pg_attribute a ON a.attrelid = k.{table} AND a.attnum = u.number)
"""
_KEYS = f"""
    SELECT c.oid, k.contype::text, k.confrelid,
        {_NAMES.format(numbers="conkey", table="conrelid")},
        {_NAMES.format(numbers="confkey", table="confrelid")}
    {_READABLE.format(joins="JOIN pg_constraint k ON k.conrelid = c.oid")}
        AND k.contype IN ('p', 'f') ORDER BY c.oid, k.conname
"""
_SIZE = "SELECT pg_database_size(current_database())"


def introspect_postgres(runner: PostgresRunner) -> Schema:
    """The schema behind a trusted runner. `InvalidInput` if the role can read nothing, or more than
    a prompt can hold."""
    listed, columns = rows_of(runner, _TABLES), rows_of(runner, _COLUMNS)
    if not listed:
        raise InvalidInput(
            "The role can read no table. GRANT USAGE ON SCHEMA … and GRANT SELECT ON ALL TABLES IN "
            "SCHEMA … to it.",
            param="dsn",
            code="no_tables",
        )
    if len(listed) > MAX_TABLES or len(columns) > MAX_COLUMNS:
        raise InvalidInput(
            f"The role can read more than {MAX_TABLES} tables or {MAX_COLUMNS} columns; no prompt "
            "holds them. Grant it those that questions are asked about.",
            param="dsn",
            code="too_many_tables",
        )
    reading = _Reading(runner, listed, columns, rows_of(runner, _KEYS))
    return Schema(tuple(reading.table(*row) for row in listed), dialect="postgres")


def size_of(runner: PostgresRunner) -> int:
    """Bytes that the database takes on its server."""
    ((size,),) = rows_of(runner, _SIZE)
    return size


class _Reading:
    """What the catalogue told, by table; the tables are looked into as long as patience lasts."""

    def __init__(
        self,
        runner: PostgresRunner,
        listed: list[tuple],
        columns: list[tuple],
        keys: list[tuple],
    ) -> None:
        self.runner = runner
        self.names = {oid: (namespace, name) for oid, namespace, name, *_ in listed}
        self.columns, self.keys = _by_table(columns), _by_table(keys)
        self.until = time.monotonic() + PATIENCE

    def table(
        self, oid: int, namespace: str, name: str, kind: str, estimate: float, comment: str | None
    ) -> Table:
        # Reading a view may take any time, and a foreign table is on another server.
        source = None if kind in ("v", "f") else _source(namespace, name)
        keys = self.keys[oid]
        primary = next((names for type_, _, names, _ in keys if type_ == "p"), "[]")
        return Table(
            name=name,
            columns=tuple(self._column(source, *row) for row in self.columns[oid]),
            comment=_short(comment),
            primary_key=tuple(json.loads(primary)),
            foreign_keys=tuple(self._foreign_keys(keys)),
            row_count=self._row_count(source, estimate),
            is_view=kind in ("v", "m"),
            namespace=namespace,
        )

    def _column(
        self,
        source: str | None,
        name: str,
        type_: str,
        category: str,
        comment: str | None,
        labels: str | None,
    ) -> Column:
        samples, codes = (), False
        if labels is not None:
            samples, codes = chosen(json.loads(labels))
        elif category == "S" and source is not None:
            samples, codes = chosen(self._frequent(source, _quoted(name)))
        return Column(name, type_, _short(comment), samples, codes)

    def _frequent(self, source: str, column: str) -> list[str]:
        sql = (
            f"SELECT v FROM (SELECT {column}::text AS v FROM {source} LIMIT {SAMPLED_ROWS}) AS s"
            f" WHERE btrim(v) <> '' GROUP BY v ORDER BY count(*) DESC, v LIMIT {LOOKED_AT}"
        )
        return [value for (value,) in self._in_time(sql)]

    def _row_count(self, source: str | None, estimate: float) -> int | None:
        if source is None or estimate > _COUNTED_ROWS:
            return None
        rows = self._in_time(f"SELECT count(*) FROM {source}")
        return rows[0][0] if rows else None

    def _in_time(self, sql: str) -> list[tuple]:
        """The rows; none where it takes too long, or what may be read is not the whole row."""
        return self.runner.run(sql).rows if time.monotonic() < self.until else []

    def _foreign_keys(self, keys: list[tuple]) -> list[ForeignKey]:
        found = []
        for type_, target, columns, targets in keys:
            if type_ == "f" and target in self.names:  # one that the role can't read helps nobody
                namespace, table = self.names[target]
                pairs = tuple(json.loads(columns)), tuple(json.loads(targets))
                found.append(ForeignKey(pairs[0], table, pairs[1], namespace))
        return found


def _by_table(rows: list[tuple]) -> dict[int, list[tuple]]:
    found: dict[int, list[tuple]] = defaultdict(list)
    for oid, *rest in rows:
        found[oid].append(tuple(rest))
    return found


def _source(namespace: str, name: str) -> str:
    return f"{_quoted(namespace)}.{_quoted(name)}" if namespace else _quoted(name)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _short(comment: str | None) -> str:
    return " ".join((comment or "").split())[:_LONGEST_COMMENT]
