"""Where an answer ends: at a stop string, or with the SQL statement. Knows no model; text only."""

import re

from workers.ml.sampling import Sampling
from workers.ml.voice import BROKEN

FENCE = re.compile(r"```[ \t]*\w*[ \t]*\n?")
# A statement begins the text, a line or a fence. WITH must be followed by `name AS (`, since a
# sentence of chatter may begin a line with the word.
STATEMENT = re.compile(
    r"(?:^|(?<=\n))[ \t]*(?:SELECT\b|WITH\s+(?:RECURSIVE\s+)?[\w\"`]+\s*(?:\([^()]*\)\s*)?AS\b)",
    re.IGNORECASE,
)
# A line behind a blank one goes on with the statement if it begins with one of these.
CLAUSES = frozenset(
    (
        *("and", "as", "asc", "by", "case", "cross", "desc", "else", "end", "except", "from"),
        *("full", "group", "having", "inner", "intersect", "join", "left", "limit", "natural"),
        *("offset", "on", "or", "order", "outer", "right", "select", "then", "union", "using"),
        *("values", "when", "where", "window", "with"),
    )
)
# Quoted strings and names, comments, the end of a statement, the end of its paragraph or fence.
TOKEN = re.compile(
    r"'(?:[^']|'')*(?:'|$)|\"(?:[^\"]|\"\")*(?:\"|$)|--[^\n]*|/\*.*?(?:\*/|$)"
    r"|(?P<semicolon>;)|(?P<fence>```)|(?P<blank>\n[ \t]*\n\s*(?:(?P<word>\w+)(?=\W)|[^\s\w]))",
    re.DOTALL,
)
SQL_ENDS = (b";", b"\n", b"`")


def end_of_answer(text: str, sampling: Sampling) -> int | None:
    """How much of `text` is the answer, if it ends in it; None if it goes on."""
    ends = [text.index(stop) for stop in sampling.stop if stop in text]
    if sampling.sql and (end := end_of_sql(text)) is not None:
        ends.append(end)
    return min(ends, default=None)


def end_of_sql(text: str) -> int | None:
    """The end of the first statement: behind its `;`, else at its closing fence, or at a blank line
    that something else follows.

    Chatter before it is passed over; a `;`, a blank line or a fence inside quotes doesn't count.
    """
    start = _start_of_sql(text)
    if start is None:
        return None
    begin, fenced = start
    for token in TOKEN.finditer(text, begin):
        if token["semicolon"]:
            return token.end()
        if token["fence"] or (token["blank"] and not fenced and _is_talk(text, begin, token)):
            return token.start()
    return None


def ends_possible(piece: bytes, sampling: Sampling) -> bool:
    """Whether an answer could end with these bytes of text: all others need no closer look. Bytes,
    since a token may bring the last part of a character alone."""
    if sampling.sql and any(mark in piece for mark in SQL_ENDS):
        return True
    return any(_may_end(stop, piece) for stop in sampling.stop if stop)


def _may_end(stop: str, piece: bytes) -> bool:
    if stop[-1] == BROKEN or BROKEN.encode() in piece:  # whatever bytes these stand for
        return True
    return stop[-1].encode(errors="replace")[-1:] in piece  # half a surrogate stands in no text


def _is_talk(text: str, begin: int, blank: re.Match) -> bool:
    """Whether what follows a blank line is no part of the statement."""
    before = text[begin : blank.start()]
    if before.count("(") > before.count(")"):
        return False
    return (blank["word"] or "").lower() not in CLAUSES and blank[0][-1] not in "(),;"


def _start_of_sql(text: str) -> tuple[int, bool] | None:
    """Where the statement's text begins, and whether it stands in a fence."""
    fence = FENCE.search(text)
    statement = STATEMENT.search(text)
    if statement and (not fence or statement.start() < fence.start()):
        return statement.start() + (len(statement[0]) - len(statement[0].lstrip())), False
    if fence and text[fence.end() :].strip():
        return fence.end(), True
    return None
