"""The classes that a failed or wrong query falls into. Knows SQLite's wording, no models.

Of PostgreSQL it is `postgres/errors.py`, by its codes.
"""

from dataclasses import dataclass

# Why a prediction is not right. A report counts these, so every one means one thing:
ERROR_CLASSES = (
    "syntax",  # does not parse
    "unknown_table",
    "unknown_column",  # not there, or ambiguous
    "forbidden",  # anything but one reading statement over allowed functions
    "timeout",
    "memory",
    "too_many_rows",  # more rows, or more bytes of rows, than the limit
    "empty",  # runs, finds nothing, where the gold finds something
    "not_a_query",  # the answer holds no SQL, or a statement that returns no table
    "runtime",  # any other error while it runs: an unknown function, an overflow …
    "wrong_rows",
    "wrong_columns",  # more or fewer columns than the gold
)
# The gold itself fails. Not the model's fault, and never counted as correct.
GOLD_FAILS = "gold_fails"

# Parts of SQLite's messages, lower case, in the order in which they are looked for.
_WORDING = (
    ("forbidden", ("not authorized", "prohibited", "may not be modified", "readonly database")),
    ("forbidden", ("one statement at a time", "unsafe use of")),
    ("timeout", ("interrupted",)),
    ("memory", ("too big", "out of memory")),
    ("unknown_table", ("no such table", "no such view")),
    ("unknown_column", ("no such column", "ambiguous column", "cannot join using column")),
    ("syntax", ("syntax error", "incomplete input", "unrecognized token")),
    ("syntax", ("incorrect number of bindings", "null character", "query string is too large")),
)


@dataclass(frozen=True)
class SqlError:
    """One class out of ERROR_CLASSES, and a sentence for a person."""

    klass: str
    message: str


def classify(*, kind: str, message: str, denied: str | None, sql: str) -> SqlError:
    """The error of a statement that SQLite refused.

    `kind` is the exception's class name, `denied` what the authorizer refused last, if anything.
    """
    if denied:
        return SqlError("forbidden", _forbidden(denied, sql))
    for klass, parts in _WORDING:
        if any(part in message.lower() for part in parts):
            return SqlError(klass, _clear(klass, message))
    return SqlError("runtime", message or kind)


def _forbidden(denied: str, sql: str) -> str:
    if denied.startswith(("function ", "table ")):
        return f"{denied} is not allowed in a query"
    word = (sql.split(maxsplit=1) or [denied])[0].upper()
    return f"{word[:20]} is not allowed: one statement that only reads is"


def _clear(klass: str, message: str) -> str:
    """SQLite's message, in words where its own are cryptic."""
    if klass == "timeout":
        return "the query took longer than it is allowed"
    if "one statement at a time" in message:
        return "several statements: exactly one is allowed"
    return message
