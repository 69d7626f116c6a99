"""Two models on the same questions: what won, what lost, and how sure that is."""

import random

import pytest

from core.evaluations import paired
from core.evaluations.paired import Table, compare, difference_interval, mcnemar


def test_the_published_example_of_the_interval():
    """Newcombe 1998, the table 20, 12, 2, 16: worked out by hand from his formulas."""
    low, high = difference_interval(Table(both=20, first=2, second=12, neither=16))
    assert (round(low, 4), round(high, 4)) == (0.0562, 0.3292)


def test_won_lost_and_tied_add_up_and_a_swap_turns_the_sign():
    ahead = compare(Table(both=20, first=2, second=12, neither=16))
    behind = compare(Table(both=20, first=12, second=2, neither=16))
    assert (ahead["won"], ahead["lost"], ahead["tied"]) == (12, 2, 36)
    assert ahead["won"] + ahead["lost"] + ahead["tied"] == ahead["questions"] == 50
    assert ahead["difference"] == 0.2 == -behind["difference"]
    assert (ahead["low"], ahead["high"]) == (-behind["high"], -behind["low"])
    assert ahead["p_value"] == behind["p_value"]


def test_the_test_is_the_binomial_of_what_differs():
    assert mcnemar(12, 2) == pytest.approx(2 * (1 + 14 + 91) / 2**14)
    assert mcnemar(0, 0) == mcnemar(5, 5) == mcnemar(600, 600) == 1.0


def test_many_questions_are_tested_by_the_normal_limit(monkeypatch):
    exact = mcnemar(520, 460)
    monkeypatch.setattr(paired, "EXACT_UP_TO", 0)
    assert mcnemar(520, 460) == pytest.approx(exact, abs=2e-3)
    assert 0 <= mcnemar(100_000, 90_000) < 1e-6


@pytest.mark.parametrize("same", [Table(0, 0, 0, 0), Table(9, 0, 0, 0), Table(0, 0, 0, 9)])
def test_where_nothing_differs_no_difference_is_within_the_interval(same):
    low, high = difference_interval(same)
    assert -1 <= low <= 0 <= high <= 1
    assert compare(same)["p_value"] == 1.0


def test_the_interval_holds_the_true_difference_as_often_as_it_says():
    chance = random.Random(7)
    held = 0
    for _ in range(1000):
        drawn = chance.choices(range(4), (0.6, 0.08, 0.14, 0.18), k=120)
        low, high = difference_interval(Table(*(drawn.count(cell) for cell in range(4))))
        held += low <= 0.14 - 0.08 <= high
    assert 0.93 < held / 1000 < 0.97
