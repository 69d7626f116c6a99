"""One SQL text to one syntax tree, or none. The only place that knows how sqlglot fails."""

import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.tokens import Token

NO_SELECT = "not a SELECT"
_LONGEST = 50_000  # characters; parsing has no clock of its own
_MOST_READ_AGAIN = 50_000  # tokens: a second of work
_LONGEST_INTERVAL = 1000  # characters
TOO_DEEP = "nested too deeply: fewer levels are right, and an ON for each JOIN"


class _TooDeep(Exception):
    """Not one of sqlglot's errors, which it takes for a reason to read in another way."""


def parse_query(sql: str, *, dialect: str) -> "exp.Query | None":
    """The tree of exactly one SELECT, set operation or VALUES; None for anything else."""
    tree, _ = parse_or_say(sql, dialect=dialect)
    return tree


def parse_or_say(sql: str, *, dialect: str) -> "tuple[exp.Query | None, str]":
    """As `parse_query`, with the reason when there is no tree."""
    from sqlglot import Dialect, exp
    from sqlglot.errors import SqlglotError

    # sqlglot warns of each statement that it only keeps as text; to us it is just no query.
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    if len(sql) > _LONGEST:
        return None, f"longer than {_LONGEST} characters"
    spoken = Dialect.get_or_raise(dialect)
    try:
        tokens = spoken.tokenize(sql)
        if _long_interval(tokens):
            return None, f"beside INTERVAL a text has at most {_LONGEST_INTERVAL} characters"
        trees = [tree for tree in _bounded(spoken).parse(tokens, sql) if tree is not None]
    except SqlglotError as error:
        return None, _reason(error)
    except (RecursionError, _TooDeep):
        return None, TOO_DEEP
    if len(trees) != 1:
        return None, f"{len(trees)} statements: exactly one is right"
    if not isinstance(trees[0], (exp.Query, exp.Values)):
        return None, NO_SELECT
    return trees[0], ""


def _bounded(dialect: Any) -> Any:
    """A parser of the dialect that gives up where it goes back too often.

    What may be read in two ways (`date(…)` as a type or a call, a JOIN before its ON or without
    one, LIMIT as a clause or an alias) is read twice, and what stands in it at each reading again:
    twice as much for each level. The parsers that it makes for a quoted type's name count along.
    """
    dialect.parser_class = _counting(type(dialect).parser_class)
    dialect.read_again = 0
    return dialect.parser()


@lru_cache
def _counting(parser: type) -> type:
    class Counting(parser):
        def _retreat(self, index: int) -> None:
            self.dialect.read_again += self._index - index
            if self.dialect.read_again > _MOST_READ_AGAIN:
                raise _TooDeep
            super()._retreat(index)

    return Counting


def _long_interval(tokens: "list[Token]") -> bool:
    """Whether sqlglot would look for a unit in a long text, which takes the square of its length:
    it may be any text, once there is an INTERVAL."""
    kinds = {token.token_type.name for token in tokens}
    if "INTERVAL" not in kinds:
        return False
    return any(
        token.token_type.name == "STRING" and len(token.text) > _LONGEST_INTERVAL
        for token in tokens
    )


def _reason(error: Exception) -> str:
    details = getattr(error, "errors", None)
    if not details:
        return str(error).splitlines()[0][:200]
    first = details[0]
    return f"{first['description']} at line {first['line']}, column {first['col']}"[:200]
