"""What comes while others are answered joins them at once; what is cancelled costs no step more."""

import time

import pytest
import torch

from tests.tiny_model import build_tiny_model
from workers.ml.cache import RowCache
from workers.ml.engine import Engine
from workers.ml.generation import Request
from workers.ml.loading import load_base
from workers.ml.sampling import Sampling

QUESTIONS = [f"What is the total of all sales for customer {n}?" * (1 + n % 3) for n in range(9)]
NEW = 24


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load_base(build_tiny_model(tmp_path_factory.mktemp("tiny")), precision="fp32")


@pytest.fixture
def engine(tiny):
    engine = Engine(tiny)
    engine.endings.tokens = set()  # answers end at their limits
    return engine


@pytest.fixture(scope="module")
def expected(tiny):
    """What each says alone."""
    answers = {}
    for request in requests(tiny):
        engine = Engine(tiny)
        engine.endings.tokens = set()
        [done] = engine.generate([request])
        answers[done.id] = done.token_ids
    return answers


def requests(tiny, **sampling):
    sampling = Sampling(**{"max_new_tokens": NEW, **sampling})
    prompts = [tiny.tokenizer(question).input_ids for question in QUESTIONS]
    return [Request(i, ids, sampling) for i, ids in enumerate(prompts)]


def finish(engine):
    return {done.id: done.token_ids for done in engine.run()}


def test_requests_that_come_one_by_one_are_answered_together(tiny, engine, expected):
    """Shorter and longer ones, each a step behind the one before."""
    found = {}
    for number, request in enumerate(requests(tiny), start=1):
        engine.submit(request)
        found |= {done.id: done.token_ids for done in engine.step()}
        assert len(list(engine.unfinished())) == number - len(found)
    assert found | finish(engine) == expected


def test_places_that_grow_are_copied_seldom(tiny, engine, monkeypatch):
    grown = []
    grow = RowCache.grow
    monkeypatch.setattr(RowCache, "grow", lambda *a, **o: grown.append(o["rows"]) or grow(*a, **o))
    for request in requests(tiny):
        engine.submit(request)
        engine.step()
    assert grown == sorted(set(grown))
    assert len(grown) <= 5, "rows double, and the length has two strides to go"


def test_places_do_not_grow_beyond_the_memory_and_who_waits_is_answered_later(
    tiny, engine, expected, monkeypatch
):
    monkeypatch.setattr("workers.ml.places.rows_that_fit", lambda *a, **o: 3)
    most = 0
    found = {}
    for request in requests(tiny):
        engine.submit(request)
        found |= {done.id: done.token_ids for done in engine.step()}
        most = max(most, len(list(engine.unfinished())))
    assert most == 3
    assert found | finish(engine) == expected


def test_grown_places_hold_what_they_held():
    cache = RowCache(rows=2, length=3)
    cache.aim_at(torch.arange(6))
    cache.update(torch.randn(1, 1, 6, 4), torch.randn(1, 1, 6, 4), 0)
    before = cache.keys[0].clone(), cache.values[0].clone()
    copied = cache.grow(rows=5, length=8, used=2, filled=2)
    for old, new in zip(before, (cache.keys[0], cache.values[0]), strict=True):
        assert new.shape == (5, 8, 1, 4)
        assert torch.equal(new[:2, :2], old[:, :2])
    assert copied == 2 * (2 * 2 * 4) * 4


def test_while_a_long_prompt_is_computed_the_others_go_on(tiny, engine):
    """Each of its pieces costs them no more than a step; nor are their places as long as it is."""
    engine.prefill.most, engine.drafting_rows = 64, 0
    some = requests(tiny)
    long = Request("long", some[0].prompt_ids * 20, Sampling(max_new_tokens=3))
    alone = Engine(tiny)
    alone.endings.tokens = set()
    [whole] = alone.generate([long])
    for request in some[:2]:
        engine.submit(request)
    engine.step()
    engine.submit(long)
    said, pieces = [], 0
    while engine.busy and "long" in {row.request.id for row in engine._waiting}:
        computed, before = engine.counts.trunk_tokens, engine.counts.prefix_tokens
        engine.step()
        said.append(sum(len(one.token_ids) for one in engine.unfinished()))
        pieces += engine.counts.prefix_tokens > before
        assert engine.counts.trunk_tokens - computed <= 64 + 2 + 1
    assert pieces == -(-(len(long.prompt_ids) - 1) // 64) > 3
    assert said[1] - said[0] == said[2] - said[1] == 2, "both said a token in each step"
    assert engine.places.cache.length < len(long.prompt_ids)
    assert finish(engine)["long"] == whole.token_ids


def test_many_prefixes_at_once_are_no_longer_step_than_one(tiny, engine):
    engine.prefill.most, ids = 64, requests(tiny)[0].prompt_ids
    for number in range(6):
        prompt = [20 + number, *ids * 2]
        shared = len(prompt) - 1
        engine.submit(Request(number, prompt, Sampling(max_new_tokens=3), shared=shared))
    while engine.busy:
        before = engine.counts.trunk_tokens
        engine.step()
        assert engine.counts.trunk_tokens - before <= 64 + 6 * 9  # and what is drafted
    assert engine.counts.prefixes == 6


def test_a_long_prompt_without_room_for_a_prefix_keeps_nobody_waiting(tiny):
    """It enters as a row, whole, beside the one whose prefix fills the room."""
    ids = requests(tiny)[0].prompt_ids
    schema, position = ids * 4, Engine(tiny).prefixes.bytes_per_position
    engine = Engine(tiny, prefix_bytes=(len(schema) + 10) * position)
    engine.endings.tokens = set()
    engine.prefill.most = 64
    long = Request("long", [*schema, *ids * 5], Sampling(max_new_tokens=3))
    short = Request("short", [*schema, *ids], Sampling(max_new_tokens=3))
    alone = {}
    for one in (long, short):
        another = Engine(tiny)
        another.endings.tokens = set()
        alone |= {c.id: c.token_ids for c in another.generate([one])}
    engine.submit(Request("going", [*schema, 40], Sampling(max_new_tokens=60), shared=len(schema)))
    while not [*engine.unfinished()]:
        engine.step()
    engine.submit(long)
    engine.submit(short)
    found = [completion for _ in range(12) for completion in engine.step()]
    assert {one.id: one.token_ids for one in found} == alone
    assert [one.id for one in engine.unfinished()] == ["going"]


def test_the_time_of_an_answer_counts_from_its_first_piece(tiny, engine):
    engine.prefill.most = 64
    engine.submit(Request(0, requests(tiny)[0].prompt_ids * 20, Sampling(max_new_tokens=3)))
    engine.step()
    begun = time.monotonic()
    [done] = engine.run()
    assert done.latency_seconds > time.monotonic() - begun


def test_a_cancelled_request_leaves_at_once_and_the_others_do_not_notice(tiny, engine, expected):
    asked = requests(tiny)
    for request in asked[:4]:
        engine.submit(request)
    for _ in range(3):
        engine.step()
    for request in asked[4:]:
        engine.submit(request)
    for gone in (1, 3, 6):
        engine.cancel(gone)
    assert {one.id for one in engine.unfinished()} == {0, 2}
    assert finish(engine) == {n: ids for n, ids in expected.items() if n not in (1, 3, 6)}


def test_all_answers_of_a_cancelled_request_go(tiny, engine):
    asked = requests(tiny, temperature=1.0, n=3)
    for request in asked[:2]:
        engine.submit(request)
    engine.step()
    engine.cancel(0)
    assert {(one.id, one.index) for one in engine.unfinished()} == {(1, 0), (1, 1), (1, 2)}
    engine.cancel(1)
    assert not engine.busy


def test_what_is_unfinished_grows_by_each_step_s_tokens(tiny, engine, expected):
    engine.drafting_rows = 0
    engine.submit(requests(tiny)[0])
    for count in range(1, 6):
        engine.step()
        [one] = engine.unfinished()
        assert one.token_ids == expected[0][:count]
