"""Names of functions in FROM: `x.f` of such an x may be a call of f, with what x returns.

Found among the tokens, as calls are, whatever the parser makes of them. Rather too many than one
too few: what looks like a function in FROM counts as one.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlglot.tokens import Token

_CLAUSE_WORDS = """
    SELECT WHERE GROUP_BY HAVING ORDER_BY LIMIT OFFSET UNION INTERSECT EXCEPT WINDOW FETCH
"""
_CLAUSES = frozenset(_CLAUSE_WORDS.split())
_BEFORE_AN_ITEM = ("FROM", "JOIN", "LATERAL", "COMMA", "L_PAREN", "DOT")
_BARE_CALLS = """
    current_catalog current_date current_role current_schema current_time current_timestamp
    current_user localtime localtimestamp session_user system_user user
"""
_WITHOUT_BRACKETS = frozenset(_BARE_CALLS.split())
_NO_CALL = ("select", "values", "with", "lateral", "table", "only")
_LONGEST_NAME = 63  # bytes; the server cuts off the rest


def declared(tokens: "list[Token]") -> dict[str, list[set[str]]]:
    """Each name of a function in FROM, with the columns that it is given at each place."""
    found: dict[str, list[set[str]]] = {}
    closing = _closing(tokens)
    for place in _items(tokens):
        end = place
        if place + 1 < len(tokens) and _kind(tokens[place + 1]) == "L_PAREN":
            end = closing.get(place + 1, len(tokens) - 1)
        alias = _alias_after(tokens, end)
        if alias is not None:
            columns = _columns_after(tokens, alias, closing)
            found.setdefault(name_of(tokens[alias]), []).append(columns)
        if alias is None or _kind(tokens[alias]) not in ("VAR", "IDENTIFIER"):
            # What stands there may be no alias but JOIN. CAST is known by its type, or its column.
            whole = tokens[place : end + 1] if tokens[place].text.lower() == "cast" else ()
            for token in (tokens[place], *whole):
                found.setdefault(name_of(token), []).append(set())
    return found


def name_of(token: "Token") -> str:
    """A name as the server knows it."""
    name = token.text.encode(errors="replace")
    if _kind(token) != "IDENTIFIER":
        name = name.lower()  # of bytes: to the server other letters than ASCII's have no case
    return name[:_LONGEST_NAME].decode(errors="ignore")


def _items(tokens: "list[Token]") -> list[int]:
    """Where a function, or what may be one, stands in a FROM."""
    places, open_from = [], [False]
    for place, token in enumerate(tokens):
        kind, before = _kind(token), _kind(tokens[place - 1]) if place else ""
        if kind == "L_PAREN":
            open_from.append(open_from[-1])
        elif kind == "R_PAREN":
            open_from[1:] = open_from[1:-1]
        elif kind == "FROM" and before != "DOT":
            open_from[-1] = True
        elif kind in _CLAUSES and before != "DOT":
            open_from[-1] = False
        several = kind == "FROM" and before == "ROWS"
        one = before in _BEFORE_AN_ITEM and _may_call(tokens, place)
        if open_from[-1] and (several or one):
            places.append(place)
    return places


def _may_call(tokens: "list[Token]", place: int) -> bool:
    word = tokens[place].text.lower()
    if place + 1 < len(tokens) and _kind(tokens[place + 1]) == "L_PAREN":
        return _is_word(tokens[place]) and word not in _NO_CALL
    return word in _WITHOUT_BRACKETS and _kind(tokens[place]) != "IDENTIFIER"


def _alias_after(tokens: "list[Token]", end: int) -> int | None:
    place = end + 1
    if [token.text.lower() for token in tokens[place : place + 2]] == ["with", "ordinality"]:
        place += 2
    if place < len(tokens) and _kind(tokens[place]) == "ALIAS":
        place += 1
    return place if place < len(tokens) and _is_word(tokens[place]) else None


def _columns_after(tokens: "list[Token]", alias: int, closing: dict[int, int]) -> set[str]:
    start = alias + 1
    return {
        name_of(tokens[place])
        for place in range(start + 1, closing.get(start, start))
        if place == start + 1 or _kind(tokens[place - 1]) == "COMMA"
    }


def _closing(tokens: "list[Token]") -> dict[int, int]:
    """For each bracket that opens, where it closes."""
    found, opened = {}, []
    for place, token in enumerate(tokens):
        if _kind(token) == "L_PAREN":
            opened.append(place)
        elif _kind(token) == "R_PAREN" and opened:
            found[opened.pop()] = place
    return found


def _is_word(token: "Token") -> bool:
    """A name or a keyword: to the server all that isn't ASCII is a letter."""
    first = token.text[:1]
    return _kind(token) == "IDENTIFIER" or first.isalpha() or first == "_" or first > "\x7f"


def _kind(token: "Token") -> str:
    return token.token_type.name
