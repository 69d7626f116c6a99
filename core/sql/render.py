"""Writes a schema as the short text that stands in front of every prompt. Knows no tokenizer.

One line a table. Every token is paid for in each training group and each request, so a type, a key
and an example are said once and in the fewest words; the text is a function of the schema alone.
"""

import re

from core.sql.schema import Column, ForeignKey, Schema, Table

_BARE = re.compile(r"[^\W\d]\w*\Z")
_RESERVED_WORDS = """
    add all alter and as asc between by case check collate column commit constraint create cross
    default delete desc distinct drop else end escape except exists from group having in index
    inner insert intersect into is isnull join key left like limit not notnull null offset on or
    order outer primary references right select set table then to transaction union unique
    update using values when where with
"""
_RESERVED = frozenset(_RESERVED_WORDS.split())
# Of an open set of values one shows the format; three made the prompts of three databases 1.3 to
# 2.4 times as long. Codes are shown in full: a query must spell them.
_EXAMPLES = 1
# Declared type -> one short word, by SQLite's affinity rules; dates keep their own name.
_SHORT_TYPES = (
    ("INTERVAL", "interval"),
    ("POINT", "point"),
    ("INT", "int"),
    ("CHAR", "text"),
    ("CLOB", "text"),
    ("TEXT", "text"),
    ("BLOB", "blob"),
    ("REAL", "real"),
    ("FLOA", "real"),
    ("DOUB", "real"),
    ("DEC", "num"),
    ("NUM", "num"),
    ("BOOL", "bool"),
    ("DATETIME", "datetime"),
    ("TIMESTAMP", "datetime"),
    ("DATE", "date"),
    ("TIME", "time"),
)


def render_schema(schema: Schema) -> str:
    """The prompt's schema, e.g. `customers(id pk, name text: 'Ann', region_id -> regions.id)`.

    Comments of columns and tables follow them as `/* … */`.
    """
    return "\n".join(_line(table) for table in schema.tables if table.columns)


def _line(table: Table) -> str:
    alone = {key.columns[0]: key for key in table.foreign_keys if len(key.columns) == 1}
    parts = [_column(column, table, alone.get(column.name)) for column in table.columns]
    if len(table.primary_key) > 1:
        parts.append(f"pk({_names(table.primary_key)})")
    parts += [
        f"({_names(key.columns)}) -> {_table_name(key.namespace, key.table)}({_names(key.targets)})"
        for key in table.foreign_keys
        if len(key.columns) > 1
    ]
    kind = "view " if table.is_view else ""
    name = _table_name(table.namespace, table.name)
    return f"{kind}{name}({', '.join(parts)}){_comment(table.comment)}"


def _column(column: Column, table: Table, key: ForeignKey | None) -> str:
    words = [_name(column.name)]
    is_key = table.primary_key == (column.name,)
    type_ = _short_type(column.type)
    # A key's type is int unless said; the type of a reference is that of its target.
    if key is None and not (is_key and type_ == "int") and type_:
        words.append(type_)
    if is_key:
        words.append("pk")
    if key is not None:
        targets = map(_name, key.targets)
        words.append("-> " + ".".join([_table_name(key.namespace, key.table), *targets]))
    text = " ".join(words)
    if column.samples and key is None:
        shown = column.samples if column.codes else column.samples[:_EXAMPLES]
        text += ": " + " ".join(map(_literal, shown))
    return text + _comment(column.comment)


def _short_type(declared: str) -> str:
    if declared.endswith("[]"):
        return f"{_short_type(declared.removesuffix('[]'))}[]"
    upper = declared.upper()
    return next((short for part, short in _SHORT_TYPES if part in upper), declared.lower())


def _name(name: str) -> str:
    if _BARE.match(name) and name.lower() not in _RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def _table_name(namespace: str, name: str) -> str:
    return f"{_name(namespace)}.{_name(name)}" if namespace else _name(name)


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(map(_name, names))


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _comment(text: str) -> str:
    return f" /* {text.replace('*/', '* /')} */" if text else ""
