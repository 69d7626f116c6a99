"""Prompts enter a step's tokens at a time, and what is kept of a prefix is not computed again."""

import pytest
import torch

from workers.ml.cache import Prefix
from workers.ml.generation import Counts
from workers.ml.prefill import FEWEST_ENTERING, Prefill
from workers.ml.prefixes import Prefixes


@pytest.fixture
def computed():
    """Lengths of the pieces."""
    return []


@pytest.fixture
def prefill(computed):
    def compute(prefix, count):
        computed.append(count)
        prefix.add(0, *(torch.zeros(1, 1, count, 1) for _ in "kv"))

    made = Prefill(Prefixes(bytes_per_position=1, limit=100), Counts(), compute)
    made.most = made.left = 10
    return made


def test_a_step_s_tokens_are_shared_by_all_that_enter(prefill, computed):
    first, second, third = (Prefix((number,) * 6) for number in range(3))
    assert prefill.begin(first, in_use=[]) and prefill.go_on(first)
    assert not prefill.go_on(second), "four are left"
    assert prefill.exceeds(5) and not prefill.exceeds(4)
    prefill.left = prefill.most
    assert prefill.go_on(second) and computed == [6, 6]


def test_a_prefix_goes_on_piece_by_piece_from_what_it_begins_with(prefill, computed):
    schema = Prefix(tuple(range(14)))
    long = Prefix(tuple(range(30)), beginning=schema)
    whole = False
    while not whole:
        prefill.left = prefill.most
        assert prefill.begin(long, in_use=[])
        whole = prefill.go_on(long)
    assert computed == [10, 4, 10, 6]
    assert long.filled == 30 and schema.filled == 14 and long.beginning is None


def test_what_many_begin_with_is_kept_whole_though_a_part_of_it_is_there(prefill, computed):
    """Else each of the others would compute the rest of it for itself."""
    few = Prefix(tuple(range(4)))
    assert prefill.begin(few, in_use=[]) and prefill.go_on(few)
    schema = Prefix(tuple(range(14)))
    for end in (77, 78):
        prompt = Prefix((*range(14), end, end), beginning=schema)
        whole = False
        while not whole:
            prefill.left = prefill.most
            assert prefill.begin(prompt, in_use=[])
            whole = prefill.go_on(prompt)
    assert computed == [4, 10, 2, 2]


def test_without_room_nothing_is_begun(prefill):
    kept = Prefix(tuple(range(60)))
    prefill.most = prefill.left = 60
    assert prefill.begin(kept, in_use=[]) and prefill.go_on(kept)
    longer = Prefix(tuple(range(90)))
    assert not prefill.begin(longer, in_use=[kept])
    assert longer.filled == 0 and kept.filled == 60


def test_pieces_do_not_become_a_few_tokens(prefill):
    prefill.most = 2048
    for _ in range(9):
        prefill.fewer()
    assert prefill.most == FEWEST_ENTERING
