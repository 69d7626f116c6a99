import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.sql.compare import compare_results, is_ordered, tie_groups
from core.sql.execute import Outcome


def _table(*rows, width=None):
    return Outcome([f"c{i}" for i in range(width or len(rows[0]))], list(rows))


def _same(gold, predicted, **how):
    return compare_results(gold, predicted, **({"ordered": False} | how)) is None


def test_rows_are_a_multiset():
    assert _same(_table((1,), (2,), (2,)), _table((2,), (1,), (2,)))
    assert not _same(_table((1,), (2,), (2,)), _table((1,), (1,), (2,)))
    assert compare_results(_table((1,), (2,)), _table((1,)), ordered=False) == "wrong_rows"


def test_order_counts_where_the_gold_orders():
    gold, other = _table((1, "a"), (2, "b")), _table((2, "b"), (1, "a"))
    assert _same(gold, other)
    assert compare_results(gold, other, ordered=True) == "wrong_rows"
    assert _same(gold, gold, ordered=True)


def test_tied_rows_may_change_places_and_others_not():
    gold = _table(("a",), ("b",), ("c",))
    groups = tie_groups([(5,), (5,), (3,)])
    assert groups == [0, 0, 1]
    assert _same(gold, _table(("b",), ("a",), ("c",)), ordered=True, groups=groups)
    assert not _same(gold, _table(("a",), ("c",), ("b",)), ordered=True, groups=groups)


def test_columns_may_change_places():
    gold = _table((1, "x", 9), (2, "y", 8))
    assert _same(gold, _table((9, 1, "x"), (8, 2, "y")))
    assert _same(gold, _table((9, 1, "x"), (8, 2, "y")), ordered=True)
    assert not _same(gold, _table((8, 1, "x"), (9, 2, "y")))


def test_columns_may_not_be_dropped_or_added():
    assert compare_results(_table((1, 2)), _table((1,)), ordered=False) == "wrong_columns"
    assert compare_results(_table((1,)), _table((1, 1)), ordered=False) == "wrong_columns"


def test_columns_that_only_agree_one_by_one_are_not_the_same_rows():
    assert not _same(_table((1, "a"), (2, "b")), _table((1, "b"), (2, "a")))


def test_two_empty_results_of_one_width_match():
    assert _same(_table(width=2), _table(width=2))
    assert _same(_table(width=2), _table(width=2), ordered=True)
    assert compare_results(_table(width=2), _table(width=1), ordered=False) == "wrong_columns"


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (1, 1.0),
        (1, True),
        (0, -0.0),
        (0.3, 0.1 + 0.2),
        (3, 2.9999999999999996),
        (1234567, 1234566.9999999998),
        (0.0, 1e-12),
        (100.0, 100.00005),
        (1e300, 1e300 * (1 + 1e-9)),
        (float("inf"), float("inf")),
        (None, None),
        (10**20, 1e20),
        (b"\x00", b"\x00"),
    ],
)
def test_equal_values(left, right):
    assert _same(_table((left,)), _table((right,)))
    assert _same(_table((right,)), _table((left,)))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (1, 2),
        (1_000_000, 1_000_001),  # ids, not measurements
        (2**53 + 1, 2**53),
        (0.5, 0.50001),
        (None, 0),
        (None, ""),
        ("1", 1),
        ("a", "A"),
        ("a", "a "),
        ("a", b"a"),
        (float("inf"), float("-inf")),
        (float("inf"), 1e308),
    ],
)
def test_different_values(left, right):
    assert not _same(_table((left,)), _table((right,)))
    assert not _same(_table((right,)), _table((left,)))


def test_rounding_errors_do_not_upset_the_pairing_of_rows():
    gold = _table((0.1 + 0.2, "b"), (0.3, "a"))
    assert _same(gold, _table((0.3, "b"), (0.1 + 0.2, "a")))


def test_a_chain_of_near_values_does_not_tie_whole_numbers_together():
    chain = [(1_000_000 + i / 10,) for i in range(11)]
    swapped = [*chain[:-1], (1_000_000,)]
    assert not _same(_table(*chain), _table(*swapped))


def test_many_alike_columns_are_no_endless_search():
    rng = random.Random(1)
    rows = [tuple(rng.randint(0, 1) for _ in range(14)) for _ in range(400)]
    columns = list(zip(*rows, strict=True))
    # Equal counts of ones in every column make every column a candidate for every other.
    columns = [tuple(rng.sample([0] * 200 + [1] * 200, 400)) for _ in columns]
    gold = list(zip(*columns, strict=True))
    rng.shuffle(columns)
    shuffled = list(zip(*columns, strict=True))
    rng.shuffle(shuffled)
    other = [tuple(rng.sample(row, len(row))) for row in gold]
    started = time.monotonic()
    assert _same(_table(*gold), _table(*shuffled))
    assert not _same(_table(*gold), _table(*other))
    assert time.monotonic() - started < 20


_VALUES = st.one_of(
    st.none(),
    st.integers(-3, 3),
    st.sampled_from([0.5, 0.1 + 0.2, 0.3, 1e6, 1e6 + 0.5]),
    st.sampled_from(["a", "北京", ""]),
)
_ROWS = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.tuples(*[_VALUES] * width), min_size=1, max_size=8)
)


@settings(max_examples=200, deadline=None)
@given(rows=_ROWS, seed=st.integers(0, 10**6))
def test_any_order_of_rows_and_columns_is_the_same_answer(rows, seed):
    rng = random.Random(seed)
    order = rng.sample(range(len(rows[0])), len(rows[0]))
    permuted = [tuple(row[i] for i in order) for row in rows]
    assert _same(_table(*rows), _table(*permuted), ordered=True)
    rng.shuffle(permuted)
    assert _same(_table(*rows), _table(*permuted))
    spoilt = [*permuted[:-1], ("spoilt", *permuted[-1][1:])]
    assert not _same(_table(*rows), _table(*spoilt))


@pytest.mark.parametrize(
    ("sql", "ordered"),
    [
        ("SELECT a FROM t ORDER BY a", True),
        ("select a from t order by a desc limit 3", True),
        ("SELECT a FROM t UNION SELECT b FROM u ORDER BY 1", True),
        ("WITH x AS (SELECT a FROM t) SELECT a FROM x ORDER BY a", True),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a LIMIT 3)", False),
        ("SELECT a FROM t WHERE b = 'order by'", False),
        ("SELECT row_number() OVER (ORDER BY a) FROM t", False),
        ("SELECT a FROM", False),
    ],
)
def test_only_the_outermost_order_by_orders(sql, ordered):
    assert is_ordered(sql) is ordered
