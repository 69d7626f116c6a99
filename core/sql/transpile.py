"""Gold SQL of another dialect in the database's own. Knows dialects, executes nothing."""

import re
import sqlite3
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from core.sql.functions import SQLITE_FUNCTIONS
from core.sql.parse import TOO_DEEP, parse_or_say

if TYPE_CHECKING:
    from sqlglot import exp

# Written like a call, but part of the language, or a table.
_SYNTAX = frozenset({"cast", "exists", "json_each", "json_tree"})
_CALL = re.compile(r"([A-Za-z_]\w*)\(")


@dataclass(frozen=True)
class Transpiled:
    """The SQL, and why it may not be the same query; `sql` is the source where nothing parses."""

    sql: str
    problems: tuple[str, ...] = ()


def transpile(sql: str, source: str, target: str) -> Transpiled:
    """Translate one query; every function that `target` (SQLite) does not know is a problem."""
    tree, reason = parse_or_say(sql, dialect=source)
    if tree is None:
        return Transpiled(sql, (f"not one query in {source}: {reason}",))
    try:
        text, problems = (sql, []) if source == target else _translated(tree, target)
        if target == "sqlite":
            problems += _unknown_to_sqlite(text)
    except RecursionError:  # writing a tree goes deeper than reading it
        return Transpiled(sql, (TOO_DEEP,))
    return Transpiled(text, tuple(dict.fromkeys(problems)))


def _translated(tree: "exp.Query", target: str) -> tuple[str, list[str]]:
    from sqlglot import Dialect, ErrorLevel

    # IGNORE: the messages are kept on the generator instead of being logged.
    generator = Dialect.get_or_raise(target).generator(unsupported_level=ErrorLevel.IGNORE)
    return generator.generate(tree), list(generator.unsupported_messages)


def _unknown_to_sqlite(sql: str) -> list[str]:
    from sqlglot import exp

    tree, reason = parse_or_say(sql, dialect="sqlite")
    if tree is None:
        return [f"the translation does not parse in sqlite: {reason}"]
    problems = []
    for call in tree.find_all(exp.Func):
        if isinstance(call, (exp.Connector, exp.DPipe)):  # AND, OR, ||: long chains of no call
            continue
        found = _CALL.match(call.sql(dialect="sqlite"))
        name = found.group(1).lower() if found else ""
        if name and name not in _known():
            problems.append(f"{name.upper()} is no function of SQLite that a query may call")
        if isinstance(call, exp.TimeToStr) and _format_is_unknown(call.args.get("format")):
            problems.append(f"SQLite's STRFTIME does not know the format {call.args['format']}")
    return problems


@lru_cache(maxsize=1)
def _known() -> frozenset[str]:
    """What the SQLite of this machine has, and the sandbox allows."""
    connection = sqlite3.connect(":memory:")
    found = {name for (name,) in connection.execute("SELECT name FROM pragma_function_list")}
    connection.close()
    return frozenset(found & SQLITE_FUNCTIONS) | _SYNTAX


def _format_is_unknown(pattern: "exp.Expression | None") -> bool:
    """SQLite answers NULL, without an error, to a strftime() conversion that it does not know."""
    if pattern is None or not pattern.is_string:
        return False
    connection = sqlite3.connect(":memory:")
    (value,) = connection.execute("SELECT strftime(?, 0)", (pattern.name,)).fetchone()
    connection.close()
    return value is None
