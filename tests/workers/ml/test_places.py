"""Places: as many and as long as rows need, as memory has room for, and no fewer than are held."""

import pytest
import torch
from transformers import LlamaConfig

from workers.ml.generation import Request
from workers.ml.places import STRIDE, Places
from workers.ml.rows import Row, make_row
from workers.ml.sampling import Sampling

PROMPT, NEW = 10, 20
LENGTH = PROMPT + NEW


@pytest.fixture
def places() -> Places:
    config = LlamaConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=50)
    return Places(config, torch.float32, "cpu", most=None)


def rows(count: int, *, prompt: int = PROMPT) -> list[Row]:
    sampling = Sampling(max_new_tokens=NEW)
    return [make_row(Request(i, [1] * prompt, sampling), None, 10_000) for i in range(count)]


def size(places: Places) -> tuple[int, int]:
    return places.cache.rows, places.cache.length


def fill(places: Places, used: list[Row]) -> None:
    """Each row has a position, with its number in it."""
    where = torch.arange(len(used)) * places.cache.length
    states = torch.arange(len(used), dtype=torch.float32)[None, None, :, None].expand(1, 2, -1, 4)
    places.cache.aim_at(where)
    places.cache.update(states, states, 0)
    for row in used:
        row.fill = 1


def test_there_are_as_many_as_wait_and_as_long_as_the_longest_needs(places):
    places.lay_out([*rows(3), *rows(1, prompt=17)])
    assert size(places) == (4, 17 + NEW)


def test_those_that_suffice_are_kept(places):
    places.lay_out(rows(4))
    before = places.cache
    places.lay_out(rows(2, prompt=PROMPT - 1))
    assert places.cache is before


def test_no_more_than_most(places):
    places.most = 3
    places.lay_out(rows(8))
    assert size(places) == (3, LENGTH)
    assert places.extend(rows(3), rows(5)) == 0
    assert size(places) == (3, LENGTH)


def test_no_more_than_memory_has_room_for(places, monkeypatch):
    monkeypatch.setattr("workers.ml.places.rows_that_fit", lambda *a, **o: 5)
    places.lay_out(rows(8))
    assert size(places) == (5, LENGTH)


def test_those_in_use_become_twice_as_many_and_keep_what_they_hold(places):
    used = rows(2)
    places.lay_out(used)
    fill(places, used)
    copied = places.extend(used, rows(1))
    assert size(places) == (4, LENGTH)
    assert places.cache.keys[0][:2, 0, 0, 0].tolist() == [0, 1]
    assert copied == 2 * used[0].fill * (2 * 2 * 4) * 4, "two rows' keys and values, in fp32"


def test_those_in_use_become_longer_in_strides(places):
    used = rows(1)
    places.lay_out(used)
    fill(places, used)
    places.extend(used, rows(1, prompt=PROMPT + 1))
    assert size(places) == (2, STRIDE)


def test_those_in_use_stay_where_what_waits_has_room(places):
    places.lay_out(rows(4))
    used = rows(2)
    fill(places, used)
    assert places.extend(used, rows(2)) == 0
    assert size(places) == (4, LENGTH)


def test_cleared_ones_take_nothing(places):
    used = rows(2)
    places.lay_out(used)
    fill(places, used)
    assert places.cache.nbytes > 0
    places.clear()
    assert (size(places), places.cache.nbytes) == ((0, 0), 0)
