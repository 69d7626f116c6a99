"""Two models on the same questions: is one better, and by how much? Pure arithmetic.

The questions are paired, so what both got right or both got wrong says nothing of the difference.
The p-value is McNemar's test (Psychometrika 12, 1947) in its exact form, the two-sided binomial
test of the questions on which they differ. The interval of the difference is Newcombe's method 10
(Statistics in Medicine 17, 1998, 2635-2650): the two Wilson intervals, put together by the
correlation of the answers. Unlike the usual normal approximation it is sensible for few
differences and stays within -1 and 1.
"""

import math
from dataclasses import dataclass
from typing import Any

from core.evaluations.summary import wilson

EXACT_UP_TO = 1000
"""Differing questions for which the binomial sum is taken; beyond, its normal limit is the same to
three digits."""


@dataclass(frozen=True)
class Table:
    """Questions that both got right, the first alone, the second alone, neither."""

    both: int
    first: int
    second: int
    neither: int

    @property
    def total(self) -> int:
        return self.both + self.first + self.second + self.neither


def compare(table: Table) -> dict[str, Any]:
    """The second model against the first: questions won, lost and tied, the difference of their
    shares of right answers with its 95 % interval, and the p-value of no difference."""
    low, high = difference_interval(table)
    return {
        "questions": table.total,
        "won": table.second,
        "lost": table.first,
        "tied": table.both + table.neither,
        "both_right": table.both,
        "both_wrong": table.neither,
        "difference": round((table.second - table.first) / table.total, 4) if table.total else 0.0,
        "low": round(low, 4),
        "high": round(high, 4),
        "p_value": round(mcnemar(table.second, table.first), 6),
    }


def mcnemar(won: int, lost: int) -> float:
    """How likely so uneven a division is if each differing question could go either way."""
    differing = won + lost
    if differing == 0:
        return 1.0
    if differing > EXACT_UP_TO:
        return math.erfc(max(0, abs(won - lost) - 1) / math.sqrt(2 * differing))
    tail = sum(math.comb(differing, k) for k in range(min(won, lost) + 1))
    return min(1.0, 2 * tail / 2**differing)


def difference_interval(table: Table) -> tuple[float, float]:
    """The 95 % interval of the second's share less the first's; -1 to 1 of no questions."""
    total = table.total
    if total == 0:
        return -1.0, 1.0
    first, second = table.both + table.first, table.both + table.second
    first_low, first_high = wilson(first, total)
    second_low, second_high = wilson(second, total)
    below, above = second / total - second_low, second_high - second / total
    first_below, first_above = first / total - first_low, first_high - first / total
    phi = _correlation(table)
    difference = (second - first) / total
    low = below**2 - 2 * phi * below * first_above + first_above**2
    high = above**2 - 2 * phi * above * first_below + first_below**2
    return difference - math.sqrt(max(0.0, low)), difference + math.sqrt(max(0.0, high))


def _correlation(table: Table) -> float:
    """Phi of the answers, with Newcombe's correction for continuity where it is positive."""
    first, second = table.both + table.first, table.both + table.second
    total = table.total
    margins = first * (total - first) * second * (total - second)
    if margins == 0:
        return 0.0
    excess = float(table.both * table.neither - table.first * table.second)
    if excess > 0:
        excess = max(0.0, excess - total / 2)
    return excess / math.sqrt(margins)
