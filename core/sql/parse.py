"""One SQL text to one syntax tree, or none. The only place that knows how sqlglot fails."""

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlglot import exp

NO_SELECT = "not a SELECT"
_LONGEST = 50_000  # characters; parsing has no clock of its own


def parse_query(sql: str, *, dialect: str) -> "exp.Query | None":
    """The tree of exactly one SELECT, set operation or VALUES; None for anything else."""
    tree, _ = parse_or_say(sql, dialect=dialect)
    return tree


def parse_or_say(sql: str, *, dialect: str) -> "tuple[exp.Query | None, str]":
    """As `parse_query`, with the reason when there is no tree."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    # sqlglot warns of each statement that it only keeps as text; to us it is just no query.
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    if len(sql) > _LONGEST:
        return None, f"longer than {_LONGEST} characters"
    try:
        trees = [tree for tree in sqlglot.parse(sql, read=dialect) if tree is not None]
    except SqlglotError as error:
        return None, _reason(error)
    except RecursionError:
        return None, "nested too deeply"
    if len(trees) != 1:
        return None, f"{len(trees)} statements: exactly one is right"
    if not isinstance(trees[0], (exp.Query, exp.Values)):
        return None, NO_SELECT
    return trees[0], ""


def _reason(error: Exception) -> str:
    details = getattr(error, "errors", None)
    if not details:
        return str(error).splitlines()[0][:200]
    first = details[0]
    return f"{first['description']} at line {first['line']}, column {first['col']}"[:200]
