"""A prefix is computed once for as long as it is kept, and leaves when its bytes are needed."""

import pytest
import torch

from tests.tiny_model import build_tiny_model
from tests.workers.ml.warming import warm
from workers.ml.cache import Prefix, bytes_per_position
from workers.ml.engine import Engine
from workers.ml.generation import Request
from workers.ml.loading import load_base
from workers.ml.prefixes import Prefixes, common_prefix
from workers.ml.sampling import Sampling

SCHEMAS = ["orders(id, total) customers(id, name) ", "flights(code) 机场(编号) ", "staff(id) "]
QUESTIONS = ["How many?", "What is the total?", "谁？"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load_base(build_tiny_model(tmp_path_factory.mktemp("tiny")), precision="fp32")


def prompts_of(tiny, schema):
    return [tiny.tokenizer(schema + question).input_ids for question in QUESTIONS]


def ask(engine, prompts):
    requests = [Request(i, ids, Sampling(max_new_tokens=6)) for i, ids in enumerate(prompts)]
    return {c.id: c.token_ids for c in engine.generate(requests)}


def held_bytes(prefix):
    return sum(t.numel() * t.element_size() for t in (*prefix.keys, *prefix.values))


def test_a_second_batch_with_the_same_schema_computes_no_prefix(tiny):
    engine, prompts = Engine(tiny), prompts_of(tiny, SCHEMAS[0])
    first = ask(engine, prompts)
    computed, trunk = engine.counts.prefixes, engine.counts.trunk_tokens
    assert computed == 1
    assert ask(engine, prompts) == first
    warm(engine, common_prefix(prompts))
    assert engine.counts.prefixes == computed
    warming = 1
    assert engine.counts.trunk_tokens - trunk == trunk - len(common_prefix(prompts)) + warming


def test_schemas_that_fit_are_kept_side_by_side(tiny):
    engine = Engine(tiny)
    answers = [ask(engine, prompts_of(tiny, schema)) for schema in SCHEMAS]
    assert [ask(engine, prompts_of(tiny, schema)) for schema in SCHEMAS] == answers
    assert engine.counts.prefixes == len(SCHEMAS)


def test_the_least_recently_used_prefix_leaves_when_bytes_are_needed(tiny):
    prefixes = [common_prefix(prompts_of(tiny, schema)) for schema in SCHEMAS]
    room = sum(sorted(map(len, prefixes))[1:])  # for the two longest
    engine = Engine(tiny, prefix_bytes=room * bytes_per_position(tiny.model.config, torch.float32))
    longest, other, third = sorted(prefixes, key=len, reverse=True)
    warm(engine, other)
    leaving = engine.prefixes.get(Prefix(tuple(other)))
    for ids in (longest, third):
        warm(engine, ids)
    assert leaving.keys == leaving.values == []
    assert engine.prefixes.get(Prefix(tuple(longest))) is not None
    assert engine.prefixes.get(Prefix(tuple(third))) is not None
    assert engine.prefixes.get(Prefix(tuple(other))) is None
    assert engine.prefixes.bytes <= engine.prefixes.limit


def test_the_bytes_that_are_counted_are_those_that_are_held(tiny):
    engine = Engine(tiny)
    ids = common_prefix(prompts_of(tiny, SCHEMAS[0]))
    warm(engine, ids)
    assert engine.prefixes.bytes == held_bytes(engine.prefixes.get(Prefix(tuple(ids))))


def test_a_prefix_in_use_stays_and_the_next_one_waits_for_its_rows(tiny):
    """There is room for one prefix, and two batches of different schemas wait together."""
    alone = [ask(Engine(tiny), prompts_of(tiny, schema)) for schema in SCHEMAS[:2]]
    engine = Engine(tiny, prefix_bytes=1)
    for number, schema in enumerate(SCHEMAS[:2]):
        shared = Prefix(tuple(common_prefix(prompts_of(tiny, schema))))
        for i, ids in enumerate(prompts_of(tiny, schema)):
            engine._enqueue(Request(10 * number + i, ids, Sampling(max_new_tokens=6)), shared)
    found = {}
    while engine._waiting or engine._rows:
        found |= {c.id: c.token_ids for c in engine.step()}
        assert len({row.prefix.token_ids for row in engine._rows}) <= 1
        assert len(engine.prefixes) == 1
    expected = {10 * n + i: ids for n, answers in enumerate(alone) for i, ids in answers.items()}
    assert found == expected
    assert engine.counts.prefixes == 2


def test_what_has_to_go_for_a_longer_prefix_is_taken_over_by_it(tiny):
    prompts = prompts_of(tiny, SCHEMAS[0])
    schema = common_prefix(prompts)
    longer = [*schema, *schema[::-1]]
    engine = Engine(tiny)
    engine.prefixes.limit = (len(longer) + 1) * engine.prefixes.bytes_per_position
    warm(engine, schema)
    warm(engine, longer)
    assert engine.counts.prefix_tokens == len(longer)
    assert engine.prefixes.get(Prefix(tuple(schema))) is None


def test_a_prefix_that_no_prompt_can_begin_with_is_not_computed(tiny):
    """And those that are kept stay."""
    context, kept = tiny.context_length, common_prefix(prompts_of(tiny, SCHEMAS[0]))
    engine = Engine(tiny, prefix_bytes=0)
    warm(engine, kept)
    before = engine.counts.trunk_tokens
    for length in (context, context + 1):
        engine.submit(Request(length, [10] * length, shared=length - 1))
    assert [completion.finish_reason for completion in engine.run()] == ["error", "error"]
    assert engine.counts.trunk_tokens == before
    assert engine.prefixes.get(Prefix(tuple(kept))).keys


def test_rows_hold_the_keys_of_their_prefix_and_no_copies(tiny):
    engine, prompts = Engine(tiny), prompts_of(tiny, SCHEMAS[0])
    warm(engine, common_prefix(prompts))
    for i, ids in enumerate(prompts):
        engine.submit(Request(i, ids))
    engine.step()
    assert len({id(row.prefix) for row in engine._rows}) == 1
    assert engine.places.cache.length == max(row.length for row in engine._rows)
    longest = max(map(len, prompts)) - len(common_prefix(prompts))
    assert engine.places.cache.length == longest + Sampling().max_new_tokens


def test_none_leaves_for_a_prefix_that_those_in_use_leave_no_room_for():
    kept = Prefixes(bytes_per_position=1, limit=10)
    used, idle = Prefix((1,) * 6), Prefix((2,) * 3)
    kept.keep(used)
    kept.keep(idle)
    assert not kept.make_room(Prefix((3,) * 5), in_use=[used])
    assert kept.get(idle) is idle
    assert kept.make_room(Prefix((3,) * 4), in_use=[used])
    assert kept.get(idle) is None and kept.get(used) is used


def test_prefixes_of_adapters_are_their_own():
    kept = Prefixes(bytes_per_position=1, limit=100)
    kept.keep(Prefix((1, 2), "sales"))
    kept.keep(Prefix((1, 2, 3), "sales"))
    kept.keep(Prefix((1, 2, 3, 4), "staff"))
    assert len(kept.longest("sales", [1, 2, 3, 4, 5])) == 3
    assert len(kept.longest("sales", [1, 2, 3])) == 2
    assert kept.longest(None, [1, 2, 3, 4, 5]) is None
    kept.forget("sales")
    assert kept.longest("sales", [1, 2, 3]) is None
    assert len(kept.longest("staff", [1, 2, 3, 4, 5])) == 4


def test_one_prefix_is_computed_even_where_it_alone_takes_more(tiny):
    engine, prompts = Engine(tiny, prefix_bytes=0), prompts_of(tiny, SCHEMAS[0])
    assert ask(engine, prompts) == ask(Engine(tiny), prompts)
    assert engine.counts.prefixes == 1
