"""What a database looks like, as plain values. Knows neither files nor prompts nor syntax."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Column:
    """`type` as declared; `samples`: texts, the most frequent first; `codes`: these are all."""

    name: str
    type: str = ""
    comment: str = ""
    samples: tuple[str, ...] = ()
    codes: bool = False


@dataclass(frozen=True)
class ForeignKey:
    """These columns point at those of `table`, in pairs."""

    columns: tuple[str, ...]
    table: str
    targets: tuple[str, ...]
    namespace: str = ""


@dataclass(frozen=True)
class Table:
    """A table or a view. `row_count` is None where it was not counted (views, huge tables).

    `namespace` is what a query has to name before it: a schema of PostgreSQL that is not on the
    search path.
    """

    name: str
    columns: tuple[Column, ...]
    comment: str = ""
    primary_key: tuple[str, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    row_count: int | None = None
    is_view: bool = False
    namespace: str = ""


@dataclass(frozen=True)
class Schema:
    """The tables in the order in which they were made."""

    tables: tuple[Table, ...]
    dialect: str = "sqlite"

    def to_dict(self) -> dict:
        """Plain JSON types; `from_dict` is the way back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict) -> "Schema":
        return cls(tuple(_table(table) for table in data["tables"]), data["dialect"])


def _table(data: dict) -> Table:
    columns = (
        Column(**column | {"samples": tuple(column["samples"])}) for column in data["columns"]
    )
    keys = (
        ForeignKey(**key | {"columns": tuple(key["columns"]), "targets": tuple(key["targets"])})
        for key in data["foreign_keys"]
    )
    changed = {
        "columns": tuple(columns),
        "primary_key": tuple(data["primary_key"]),
        "foreign_keys": tuple(keys),
    }
    return Table(**data | changed)
