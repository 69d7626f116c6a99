"""Prefixes of a step lie side by side as long as they are what they were."""

import torch

from workers.ml.cache import Prefix, RowCache


def computed(number: int) -> Prefix:
    prefix = Prefix((1, 2, 3), str(number))
    fill(prefix, number)
    return prefix


def fill(prefix: Prefix, number: float) -> None:
    for states in (prefix.keys, prefix.values):
        states += [torch.full((1, 2, 3, 4), float(number)) for _ in range(2)]


def test_prefixes_are_copied_once_while_their_set_gets_no_larger() -> None:
    cache, (a, b, c) = RowCache(rows=0, length=0), map(computed, range(3))
    [first] = cache.grouped([[a, b, c]])
    assert first.keys[1].shape == (3, 2, 3, 4) and first.values[0][:, 0, 0, 0].tolist() == [0, 1, 2]
    assert cache.grouped([[c, a]]) == [first]
    [alone] = cache.grouped([[b]])
    assert alone.keys is b.keys  # no copy
    assert cache.grouped([[a, b]]) != [first]


def test_a_prefix_that_was_computed_anew_is_copied_anew() -> None:
    cache, (a, b) = RowCache(rows=0, length=0), map(computed, range(2))
    cache.grouped([[a, b]])
    b.release()
    fill(b, 7)
    [again] = cache.grouped([[a, b]])
    assert again.keys[0][:, 0, 0, 0].tolist() == [0, 7]
