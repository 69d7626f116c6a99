"""Are two result tables the same answer? Knows values, columns and order; runs nothing.

The rules, and where they differ from the test-suite evaluation of Spider:
- rows are compared as multisets (DISTINCT counts); in order only where the gold orders;
- columns may stand in another order, none may be missing or added, names don't matter. That holds
  for empty results too: two of them match if they are of one width (there: always);
- whole numbers are exact (1 equals 1.0, but ids a million apart by one differ); other numbers are
  equal within 1e-6 relative or 1e-9 absolute; NULL equals NULL; text never equals a number.

Numbers are first sorted into classes of equals, so rows can be counted as plain keys: sorting rows
by raw floats and comparing pairwise breaks where 0.3 meets 0.1 + 0.2.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from functools import lru_cache
from itertools import chain

from core.sql.parse import parse_query
from core.sql.runner import Outcome

RELATIVE, ABSOLUTE = 1e-6, 1e-9
_EXACT = 2**53  # above it a float is no exact whole number any more
_SEARCH_CELLS = 3_000_000  # work allowed to the search for a column order
_SEARCH_STEPS = 5_000


@lru_cache(maxsize=8192)
def is_ordered(sql: str, dialect: str = "sqlite") -> bool:
    """Whether the outermost query has an ORDER BY. False for what does not parse."""
    tree = parse_query(sql, dialect=dialect)
    return tree is not None and tree.args.get("order") is not None


def compare_results(
    gold: Outcome,
    predicted: Outcome,
    *,
    ordered: bool,
    groups: Sequence[int] | None = None,
) -> str | None:
    """None if they are the same answer, else "wrong_columns" or "wrong_rows".

    `ordered`: the gold orders its rows. `groups` says which gold rows tie (one number a row, equal
    for neighbours with equal sort keys); tied rows may change places. Without it none do.
    """
    if len(gold.columns) != len(predicted.columns):
        return "wrong_columns"
    if len(gold.rows) != len(predicted.rows):
        return "wrong_rows"
    if gold.rows == predicted.rows:
        return None
    places: Sequence[int] = [0] * len(gold.rows)
    if ordered:
        places = range(len(gold.rows)) if groups is None else groups
    classes = _number_classes(value for row in chain(gold.rows, predicted.rows) for value in row)
    wanted, given = _columns(gold, classes), _columns(predicted, classes)
    return None if _same_table(wanted, given, places) else "wrong_rows"


def tie_groups(keys: Iterable[Hashable]) -> list[int]:
    """Numbers runs of equal sort keys: a a b c c -> 0 0 1 2 2."""
    groups: list[int] = []
    previous: Hashable = object()
    number = -1
    for key in keys:
        number += key != previous
        previous = key
        groups.append(number)
    return groups


def _number_classes(values: Iterable[object]) -> dict[int | float, int]:
    """Each number's class of equals: neighbours within the tolerance share one.

    A class holds at most one whole number, so a run of near values can't tie two ids together.
    """
    numbers = sorted({n for v in values if isinstance(v, (int, float)) and (n := _whole(v)) == n})
    classes: dict[int | float, int] = {}
    number, previous, has_whole = 0, -math.inf, False
    for value in numbers:
        whole = isinstance(value, int)
        near = math.isclose(value, previous, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
        if not near or (whole and has_whole):
            number, has_whole = number + 1, False
        classes[value] = number
        previous, has_whole = value, has_whole or whole
    return classes


def _whole(value: int | float) -> int | float:
    """True -> 1, 1.0 -> 1, 2.9999999999999996 -> 3; 0.5 and floats too large to be exact stay.

    A sum's rounding error must find its own whole number, not join another nearby one.
    """
    if not isinstance(value, float):
        return int(value)
    if not abs(value) <= _EXACT:  # NaN and infinity too
        return value
    nearest = round(value)
    return nearest if math.isclose(value, nearest, rel_tol=1e-11, abs_tol=ABSOLUTE) else value


def _key(value: object, classes: dict[int | float, int]) -> Hashable:
    if value is None or isinstance(value, (str, bytes)):
        return value
    if isinstance(value, (int, float)):
        return ("number", classes.get(_whole(value)))  # NaN is in no class and equals itself
    return ("other", str(value))


def _columns(outcome: Outcome, classes: dict[int | float, int]) -> list[tuple[Hashable, ...]]:
    if not outcome.rows:
        return [()] * len(outcome.columns)
    columns = zip(*outcome.rows, strict=True)
    return [tuple(_key(value, classes) for value in column) for column in columns]


def _same_table(
    wanted: list[tuple[Hashable, ...]], given: list[tuple[Hashable, ...]], places: Sequence[int]
) -> bool:
    """Is there an order of the given columns in which both hold the same rows at the same places?

    A column can only stand for one with the same values at the same places, and each column added
    must keep the partial rows equal as multisets. That prunes nearly all; the rest is bounded, and
    a table whose search passes the bound counts as different.
    """
    if Counter(wanted) == Counter(given):  # whole columns agree: so do the rows, place by place
        return True
    profiles = [Counter(zip(places, column, strict=True)) for column in given]
    choices = []
    for column in wanted:
        profile = Counter(zip(places, column, strict=True))
        choices.append([i for i, other in enumerate(profiles) if other == profile])
    steps = min(_SEARCH_STEPS, _SEARCH_CELLS // max(1, len(places)) + len(wanted))
    return _Search(wanted, given, choices, steps).found(places)


class _Search:
    """Depth-first over the choices of columns, at most `steps` partial tables looked at."""

    def __init__(self, wanted, given, choices: list[list[int]], steps: int) -> None:
        self.wanted, self.given, self.choices, self.steps = wanted, given, choices, steps
        # The columns with the fewest choices first: a wrong start shows early.
        self.order = sorted(range(len(wanted)), key=lambda i: len(choices[i]))
        self.numbers: dict[tuple[int, Hashable], int] = {}  # of partial rows

    def found(self, places: Sequence[int]) -> bool:
        start = [-1 - place for place in places]  # never a number of a partial row
        return self._extend(0, start, start, ())

    def _longer(self, rows: list[int], column: tuple[Hashable, ...]) -> list[int]:
        """Each partial row with one value more, again as a number."""
        numbers = self.numbers
        return [numbers.setdefault(part, len(numbers)) for part in zip(rows, column, strict=True)]

    def _extend(self, depth: int, left: list[int], right: list[int], used: tuple) -> bool:
        """`left`, `right`: the partial rows so far of gold and prediction."""
        if depth == len(self.order):
            return True
        place = self.order[depth]
        longer = self._longer(left, self.wanted[place])
        count = Counter(longer)
        tried: set[tuple] = set()
        for choice in self.choices[place]:
            column = self.given[choice]
            if choice in used or column in tried:  # equal columns stand for each other
                continue
            tried.add(column)
            self.steps -= 1
            if self.steps < 0:
                return False
            other = self._longer(right, column)
            if Counter(other) == count and self._extend(depth + 1, longer, other, (*used, choice)):
                return True
        return False
