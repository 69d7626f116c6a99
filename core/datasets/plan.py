"""What a prepare job is asked, and what that means for the rows of its file. Reads nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.datasets.columns import Columns, check_mapping, find_columns
from core.datasets.formats import check_format
from core.datasets.rows import MAX_ROW_BYTES
from core.datasets.splits import (
    DEFAULT_FRACTIONS,
    DEFAULT_SEED,
    TRAIN,
    VALIDATION,
    read_fractions,
)
from core.errors import InvalidInput
from core.sql.render import render_schema
from core.sql.schema import Schema

GIVEN = "given"
"""Asked for as the split: as the rows say; what says nothing is train."""
_DIALECTS = {"postgresql": "postgres", "mariadb": "mysql", "mssql": "tsql", "sqlserver": "tsql"}


@dataclass(frozen=True)
class Request:
    """A job's parameters, checked. `fractions` is None where rows may bring their split, and
    `as_given` where nothing else counts."""

    filename: str
    validation_filename: str
    format: str
    mapping: dict[str, str]
    sql_dialect: str
    fractions: dict[str, float] | None
    as_given: bool
    seed: int
    drop_bad_rows: bool
    max_row_bytes: int
    database: dict[str, Any] | None

    @classmethod
    def read(cls, params: Mapping[str, Any]) -> "Request":
        """Raises `InvalidInput` for parameters that make no sense."""
        split = params.get("split")
        as_given = split == GIVEN or bool(params.get("validation_filename"))
        fractions = None if split in (None, GIVEN) else read_fractions(split)
        if fractions is not None and as_given:
            raise InvalidInput(
                "split: with a validation_file no share of the rows can be asked for; leave it out",
                param="split",
            )
        mapping = {role: name for role, name in (params.get("mapping") or {}).items() if name}
        check_mapping(mapping)
        check_format(params.get("format") or "auto")
        return cls(
            filename=params.get("filename") or "",
            validation_filename=params.get("validation_filename") or "",
            format=params.get("format") or "auto",
            mapping=mapping,
            sql_dialect=read_dialect(params.get("sql_dialect") or "sqlite"),
            fractions=fractions,
            as_given=as_given,
            seed=split.get("seed", DEFAULT_SEED) if fractions else DEFAULT_SEED,
            drop_bad_rows=bool(params.get("drop_bad_rows")),
            max_row_bytes=params.get("max_row_bytes") or MAX_ROW_BYTES,
            database=params.get("database"),
        )


@dataclass(frozen=True)
class Plan:
    """What the rows are and what becomes of them.

    `answers` is sql or text; `fractions` is None where the rows bring their split, or all have
    the one in `split`.
    """

    kind: str
    columns: Columns
    answers: str
    dialect: str | None
    schema: Schema | None
    schema_text: str | None
    fractions: dict[str, float] | None
    split: str | None
    seed: int


def make_plan(
    request: Request, sample: Sequence[Mapping[str, Any]], *, validation: bool = False
) -> Plan:
    """For a file whose first rows are `sample`; `validation` is the one that is nothing but the
    split of that name. Raises `InvalidInput` if its columns are unclear.

    With a database each answer is taken as SQL, also that of an instruction (whose kind is then
    `sql`) or of a conversation.
    """
    columns = find_columns(sample, request.mapping)
    database = request.database or {}
    schema = Schema.from_dict(given) if (given := database.get("schema")) else None
    has_sql = columns.kind == "sql" or bool(database)
    fractions = request.fractions
    if fractions is None and "split" not in columns.roles and not request.as_given:
        fractions = DEFAULT_FRACTIONS
    if fractions is not None or validation:  # a split column says nothing, and is not judged
        roles = {role: name for role, name in columns.roles.items() if role != "split"}
        columns = Columns(columns.kind, roles)
    return Plan(
        kind="sql" if has_sql and columns.kind == "instruction" else columns.kind,
        columns=columns,
        answers="sql" if has_sql else "text",
        dialect=database.get("dialect", request.sql_dialect) if has_sql else None,
        schema=schema,
        schema_text=database.get("schema_text", schema and render_schema(schema)),
        fractions=fractions,
        split=_split_of_all(request, validation),
        seed=request.seed,
    )


def require_alike(plan: Plan, first: Plan) -> None:
    """Raise `InvalidInput` unless a second file holds what the first one does."""
    if plan.columns.kind != first.columns.kind:
        raise InvalidInput(
            f"its rows are of the kind {plan.columns.kind}, those of the first file of the kind "
            f"{first.columns.kind}; one kind in both is right",
            code="columns",
        )


def _split_of_all(request: Request, validation: bool) -> str | None:
    """The split of rows that say none, if that is not left to chance."""
    if validation:
        return VALIDATION
    return TRAIN if request.as_given else None


def read_dialect(name: str) -> str:
    """sqlglot's name of a dialect."""
    from sqlglot.dialects.dialect import Dialect  # slow to import

    name = _DIALECTS.get(name.lower(), name.lower())
    if Dialect.get(name) is None:
        raise InvalidInput(
            f"sql_dialect {name!r} is unknown; sqlite, mysql, postgres, tsql, oracle, duckdb, "
            "bigquery, snowflake … are right",
            param="sql_dialect",
        )
    return name
