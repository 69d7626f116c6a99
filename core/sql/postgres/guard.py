"""Which statements may be sent to a PostgreSQL server: one query over listed functions.

Knows tokens and syntax trees, no connection. What is sent is not the text that came but the tokens
that were looked at, each apart from the next: between a tokenizer's reading of comments, dollar
quotes and odd spaces and the server's own nothing can hide. Function calls are found among the
tokens, whatever the parser makes of them; all else on the tree.
"""

import re
from collections import Counter
from typing import TYPE_CHECKING

from core.sql.errors import SqlError
from core.sql.functions import POSTGRES_FUNCTIONS
from core.sql.parse import NO_SELECT, parse_or_say
from core.sql.postgres.aliases import declared, name_of

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.tokens import Token

_STATEMENT_WORDS = """
    abort alter analyze begin call checkpoint close cluster comment commit copy create deallocate
    declare delete discard do drop end execute explain fetch grant import insert listen load lock
    merge move notify prepare reassign refresh reindex release reset revoke rollback savepoint
    security set show start truncate unlisten update vacuum
"""
STATEMENTS = frozenset(_STATEMENT_WORDS.split())
_SYNTAX_WORDS = """
    all and any as between bit both by case cast char character collate cross cube dec decimal
    distinct else escape except exists filter float for from full group having ilike in inner
    intersect interval is isnull join lateral leading left like limit materialized natural not
    notnull numeric offset on only or over partition recursive right rollup select set sets similar
    some symmetric then time timestamp to trailing union using values varchar varying when where
    window with within zone
"""
SYNTAX = frozenset(_SYNTAX_WORDS.split())
"""Words of the language that may stand before a bracket and call nothing."""
FIELDS = ("key", "value", "ordinality", "*")
"""Of what json_each() and its like bring; no functions are called so."""
SYSTEM = re.compile(r"pg_\w*|information_schema", re.IGNORECASE)
_QUOTES = ("'", '"', "$")
_WORD = re.compile(r"[^\W\d][\w$]*")
_PADDING = re.compile(r"%-?(?:\*|\d{4})")
_WIDEST = 1000  # characters that a query may fill up with others


def vet(sql: str) -> str | SqlError:
    """The statement as it may be sent, or why it may not."""
    tokens = _tokens(sql)
    if isinstance(tokens, SqlError):
        return tokens
    while tokens and _is(tokens[-1], "SEMICOLON"):
        tokens.pop()
    if not tokens:
        return SqlError("not_a_query", "there is no statement")
    first = tokens[0].text.lower()
    if first in STATEMENTS:
        return _forbidden(f"{first.upper()} is not allowed: one statement that only reads is")
    if any(_is(token, "SEMICOLON") for token in tokens):
        return _forbidden("several statements: exactly one is allowed")
    text = _joined(sql, tokens)
    tree, reason = parse_or_say(text, dialect="postgres")
    if tree is None and (first, reason) == ("with", NO_SELECT):
        return _forbidden("WITH before anything but a SELECT is not allowed: only reading is")
    if tree is None:
        return SqlError("syntax", f"this can't be read as one query of PostgreSQL: {reason}")
    return _refusal(tree, tokens, sql) or text


def _tokens(sql: str) -> "list[Token] | SqlError":
    from sqlglot import Dialect
    from sqlglot.errors import SqlglotError

    if "\x00" in sql:
        return SqlError("syntax", "the query holds the character NUL")
    try:
        return list(Dialect.get_or_raise("postgres").tokenize(sql))
    except SqlglotError:
        return SqlError("syntax", "a quote, a comment or a bracket is not closed")


def _joined(sql: str, tokens: "list[Token]") -> str:
    """The tokens as they were written, apart where they were, and before each quote: a word that
    touches one may change what it means."""
    parts: list[str] = []
    end = None
    for token in tokens:
        written = sql[token.start : token.end + 1]
        if end is not None and (token.start > end + 1 or written.startswith(_QUOTES)):
            parts.append(" ")
        parts.append(written)
        end = token.end
    return "".join(parts)


def _refusal(tree: "exp.Query", tokens: "list[Token]", sql: str) -> SqlError | None:
    found = _deeds(tree) or _tables(tree) or _sizes(tree)
    return found or _calls(tree, tokens, sql) or _fields(tokens) or _rows(tokens)


def _deeds(tree: "exp.Query") -> SqlError | None:
    """Whether something in it does more than read."""
    from sqlglot import exp

    deeds = (exp.DML, exp.DDL, exp.Drop, exp.Command, exp.Set, exp.Into, exp.Lock)
    for node in tree.walk():
        if isinstance(node, deeds):
            word = {"lock": "FOR UPDATE or SHARE", "into": "SELECT INTO"}.get(node.key)
            return _forbidden(f"{word or node.key.upper()} is not allowed: only reading is")
    return None


def _tables(tree: "exp.Query") -> SqlError | None:
    from sqlglot import exp

    for table in tree.find_all(exp.Table):
        for name in (table.name, table.db, table.catalog):
            if SYSTEM.fullmatch(name):
                return _forbidden(f"table {name} is not allowed in a query")
    return None


def _calls(tree: "exp.Query", tokens: "list[Token]", sql: str) -> SqlError | None:
    """Every word before a bracket is a listed function, syntax, or a name that is given columns
    (`WITH t(a, b) AS`), which then stands so as often as it is given them."""
    named = Counter(_named_columns(tree))
    for place, token in enumerate(tokens[:-1]):
        if not _is(tokens[place + 1], "L_PAREN"):
            continue
        written = sql[token.start : token.end + 1]
        quoted = written.startswith('"')
        if not quoted and not _WORD.fullmatch(written):
            continue
        name = token.text if quoted else token.text.lower()
        qualified = place > 1 and _is(tokens[place - 1], "DOT")
        if qualified and tokens[place - 2].text.lower() != "pg_catalog":
            return _forbidden(f"function {name} of a schema is not allowed in a query")
        if name in POSTGRES_FUNCTIONS or (name in SYNTAX and not quoted and not qualified):
            continue
        named[name] -= 1
        if qualified or named[name] < 0:
            return _forbidden(f"function {name} is not allowed in a query")
    return None


def _fields(tokens: "list[Token]") -> SqlError | None:
    """`(x).name` may be a call of `name` as well as a field of x."""
    for place in range(1, len(tokens) - 1):
        before = tokens[place - 1].token_type.name
        if not _is(tokens[place], "DOT") or before not in ("R_PAREN", "R_BRACKET"):
            continue
        name = tokens[place + 1].text
        goes_on = place + 2 < len(tokens) and _is(tokens[place + 2], "DOT")
        if name.lower() not in FIELDS or goes_on:
            return _forbidden(f"field {name} of an expression is not allowed in a query")
    return None


def _rows(tokens: "list[Token]") -> SqlError | None:
    """`x.name` calls `name` with what the function x in FROM returns, unless it is a column there:
    that of x's own name, or a declared one. What other rows may be given to (those of tables and
    sub-queries) takes a whole row, and none of the server's own that does so reaches out."""
    columns = declared(tokens)
    for place in range(1, len(tokens) - 1):
        if not _is(tokens[place], "DOT"):
            continue
        alias, name = name_of(tokens[place - 1]), name_of(tokens[place + 1])
        if name == alias or name in FIELDS:
            continue
        if any(name not in given for given in columns.get(alias, ())):
            return _forbidden(
                f"field {name} of the function {alias} in FROM is not allowed in a query; a column "
                f"has to be declared: AS {alias}({name})"
            )
    return None


def _named_columns(tree: "exp.Query") -> list[str]:
    from sqlglot import exp

    found = []
    for alias in tree.find_all(exp.TableAlias):
        name = alias.args.get("this")
        if alias.columns and name is not None:
            found.append(name.this if name.args.get("quoted") else name.this.lower())
    return found


def _sizes(tree: "exp.Query") -> SqlError | None:
    """What fills a text up must say, as a small number, how far: the server's memory is not ours to
    bound otherwise."""
    from sqlglot import exp

    for node in tree.find_all(exp.Repeat, exp.Pad, exp.Format):
        if isinstance(node, exp.Format):
            if _PADDING.search(node.this.name):
                return SqlError("memory", "format() with a width of its arguments, or a large one")
            continue
        size = node.args.get("times") or node.args.get("expression")
        if not isinstance(size, exp.Literal) or not size.is_int or int(size.name) > _WIDEST:
            name = "repeat" if isinstance(node, exp.Repeat) else "lpad or rpad"
            return SqlError("memory", f"{name}() needs a number up to {_WIDEST} for its length")
    return None


def _is(token: "Token", kind: str) -> bool:
    return token.token_type.name == kind


def _forbidden(message: str) -> SqlError:
    return SqlError("forbidden", message)
