"""Groups are dealt out close to the fractions, everywhere the same, and no split stays empty."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.datasets.splits import DEFAULT_FRACTIONS, deal, read_fractions
from core.errors import InvalidInput


def shares(sizes: list[int], dealt: list[str]) -> dict[str, float]:
    total = sum(sizes)
    return {
        name: sum(size for size, split in zip(sizes, dealt, strict=True) if split == name) / total
        for name in DEFAULT_FRACTIONS
    }


def keys(count: int) -> list[int]:
    return [random.Random(n).getrandbits(64) for n in range(count)]


@pytest.mark.parametrize("count", [10, 11, 37, 100, 1000])
def test_equal_groups_come_as_close_to_the_fractions_as_they_can(count):
    dealt = deal([1] * count, keys(count), DEFAULT_FRACTIONS, seed=1)
    for name, fraction in DEFAULT_FRACTIONS.items():
        assert abs(dealt.count(name) - fraction * count) <= 1


def test_uneven_groups_come_close_to_the_fractions():
    sizes = [random.Random(n).choice([1, 1, 2, 3, 8, 20]) for n in range(300)]
    for seed in range(10):
        found = shares(sizes, deal(sizes, keys(300), DEFAULT_FRACTIONS, seed))
        assert all(abs(found[name] - DEFAULT_FRACTIONS[name]) < 0.02 for name in found)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 500), min_size=10, max_size=40), st.integers(0, 2**32))
def test_no_split_stays_empty_from_ten_groups_on(sizes, seed):
    dealt = deal(sizes, keys(len(sizes)), DEFAULT_FRACTIONS, seed)
    assert set(dealt) == set(DEFAULT_FRACTIONS)


def test_even_tiny_fractions_get_a_group():
    dealt = deal([1] * 9 + [5], keys(10), {"train": 0.98, "validation": 0.01, "test": 0.01}, 1)
    assert sorted(dealt) == ["test"] + ["train"] * 8 + ["validation"]
    assert dealt[9] == "train"


def test_giant_group_goes_to_train():
    for seed in range(20):
        dealt = deal([1000] + [1] * 9, keys(10), DEFAULT_FRACTIONS, seed)
        assert dealt[0] == "train"


def test_train_gets_what_little_there_is():
    assert deal([1], [5], {"train": 0.1, "test": 0.9}, seed=1) == ["train"]
    assert "train" in deal([3, 4], [5, 6], DEFAULT_FRACTIONS, seed=1)
    assert deal([], [], DEFAULT_FRACTIONS, seed=1) == []


def test_same_seed_same_split_whatever_the_order_and_another_seed_another_split():
    names, sizes = keys(200), [n % 5 + 1 for n in range(200)]
    dealt = dict(zip(names, deal(sizes, names, DEFAULT_FRACTIONS, 3), strict=True))
    order = random.Random(0).sample(range(200), 200)
    again = deal([sizes[n] for n in order], [names[n] for n in order], DEFAULT_FRACTIONS, 3)
    assert dict(zip([names[n] for n in order], again, strict=True)) == dealt
    assert dict(zip(names, deal(sizes, names, DEFAULT_FRACTIONS, 4), strict=True)) != dealt


def test_split_is_the_same_on_every_machine():
    dealt = deal([1] * 12, list(range(12)), DEFAULT_FRACTIONS, seed=42)
    assert "".join(name[1] for name in dealt) == "rrerarrrrrrr"


def test_fractions_are_checked():
    assert read_fractions({"train": 0.9, "test": 0.1, "seed": 1}) == {"train": 0.9, "test": 0.1}
    for bad in (
        {"train": 0.8, "validation": 0.1},
        {"train": 80, "validation": 10, "test": 10},
        {"validation": 0.5, "test": 0.5},
        {"train": "all"},
    ):
        with pytest.raises(InvalidInput, match="1|train"):
            read_fractions(bad)
