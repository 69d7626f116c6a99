"""Drafts change how many steps an answer takes and never what it says."""

import math

import pytest
import torch

from tests.tiny_model import build_tiny_model
from workers.ml.drafts import DRAFT, HEARD_TOKENS, LONGEST, Heard, Lookup
from workers.ml.engine import Engine
from workers.ml.generation import Request
from workers.ml.loading import LoadedModel, load_base
from workers.ml.sampling import Sampling

SCHEMA = "customers(id, name, city) orders(id, total) 客户(编号, 姓名) "
QUESTIONS = [
    "How many orders?",
    "What is the total of all sales for each customer who lives in Paris? " * 2,
    "x",
    "SELECT name, city FROM customers WHERE name = 'x' AND city = 'x'",
]
ALL = 99


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load_base(build_tiny_model(tmp_path_factory.mktemp("tiny")), precision="fp32")


@pytest.fixture(scope="module")
def prompts(tiny):
    return [tiny.tokenizer(SCHEMA + question).input_ids for question in QUESTIONS]


def ask(loaded, prompts, *, rows, max_rows=None, heard=None, **sampling):
    """The engine and its completions by request; `rows`: while so few are decoded it drafts."""
    engine = Engine(loaded, max_rows=max_rows)
    engine.drafting_rows = rows
    sampling = Sampling(**{"max_new_tokens": 40, **sampling})
    requests = [Request(i, ids, sampling, heard=heard) for i, ids in enumerate(prompts)]
    return engine, {c.id: c for c in engine.generate(requests)}


def having_heard(*texts):
    heard = Heard()
    for text in texts:
        heard.add(text)
    return heard


def said(completions):
    return {i: (c.token_ids, c.text, c.finish_reason) for i, c in completions.items()}


@pytest.mark.parametrize("max_rows", [None, 1, 3])
def test_answers_with_drafts_that_hold_and_that_do_not_are_the_greedy_ones(tiny, prompts, max_rows):
    _, plain = ask(tiny, prompts, rows=0)
    engine, drafted = ask(tiny, prompts, rows=ALL, max_rows=max_rows)
    assert said(drafted) == said(plain)
    assert 0 < engine.counts.accepted_tokens < engine.counts.drafted_tokens


def test_a_row_takes_a_step_less_for_each_token_that_holds(tiny, prompts):
    plain, _ = ask(tiny, prompts[:1], rows=0)
    engine, done = ask(tiny, prompts[:1], rows=1)
    assert engine.counts.accepted_tokens > 0
    assert engine.counts.steps == plain.counts.steps - engine.counts.accepted_tokens
    fed = done[0].completion_tokens - 1 - engine.counts.accepted_tokens
    assert engine.counts.trunk_tokens == len(prompts[0]) + fed + engine.counts.drafted_tokens


def test_a_text_that_holds_the_answer_makes_of_seventeen_steps_one(tiny, prompts):
    _, done = ask(tiny, prompts[1:2], rows=0, max_new_tokens=28)
    heard = having_heard([*prompts[1], *done[0].token_ids])
    engine, again = ask(tiny, prompts[1:2], rows=1, max_new_tokens=28, heard=heard)
    assert said(again) == said(done)
    assert engine.counts.steps == math.ceil(done[0].completion_tokens / (1 + LONGEST))


def test_what_one_was_told_is_drafted_for_the_next(tiny, prompts):
    _, plain = ask(tiny, prompts, rows=0)
    alone, _ = ask(tiny, prompts, rows=1, max_rows=1)
    heard = Heard()
    ask(tiny, prompts, rows=1, max_rows=1, heard=heard)
    engine, again = ask(tiny, prompts, rows=1, max_rows=1, heard=heard)
    assert said(again) == said(plain)
    assert engine.counts.steps < 0.8 * alone.counts.steps


@pytest.mark.parametrize("limit", range(1, 12))
def test_a_limit_inside_a_draft_cuts_the_answer_there(tiny, prompts, limit):
    _, plain = ask(tiny, prompts, rows=0, max_new_tokens=limit)
    _, drafted = ask(tiny, prompts, rows=ALL, max_new_tokens=limit)
    assert said(drafted) == said(plain)


def test_a_stop_string_or_end_token_inside_a_draft_ends_the_answer_there(tiny, prompts):
    _, free = ask(tiny, prompts[:1], rows=0)
    answer = [*prompts[0], *free[0].token_ids]
    for at in range(1, len(free[0].text) - 2, 5):
        stop = (free[0].text[at : at + 3],)
        _, plain = ask(tiny, prompts[:1], rows=0, stop=stop)
        _, drafted = ask(tiny, prompts[:1], rows=1, stop=stop, heard=having_heard(answer))
        assert said(drafted) == said(plain)
        assert plain[0].finish_reason == "stop"
    engine = Engine(tiny)
    engine.endings.tokens = {free[0].token_ids[6]}
    [done] = engine.generate([Request(0, prompts[0], heard=having_heard(answer))])
    assert done.token_ids == free[0].token_ids[: free[0].token_ids.index(free[0].token_ids[6])]


def test_drawn_rows_take_no_drafts_and_say_the_same(tiny, prompts):
    drawn = {"temperature": 0.9, "seed": 3}
    _, plain = ask(tiny, prompts, rows=0, **drawn)
    engine, drafted = ask(tiny, prompts, rows=ALL, **drawn)
    assert said(drafted) == said(plain)
    assert engine.counts.drafted_tokens == 0


def test_no_row_drafts_while_many_are_decoded(tiny, prompts):
    engine, _ = ask(tiny, prompts, rows=0)
    assert engine.counts.drafted_tokens == 0


@pytest.mark.parametrize("window", [6, 50])
def test_drafts_hold_in_models_that_look_back_over_a_window(tiny, prompts, window):
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(2)
    config = MistralConfig(
        vocab_size=len(tiny.tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        sliding_window=window,
        initializer_range=0.1,
        pad_token_id=0,
    )
    model = MistralForCausalLM(config).eval()
    loaded = LoadedModel(model, tiny.tokenizer, torch.float32, "cpu", "none", 0, 0)
    _, plain = ask(loaded, prompts, rows=0)
    engine, drafted = ask(loaded, prompts, rows=ALL, max_rows=3)
    assert said(drafted) == said(plain)
    assert engine.counts.drafted_tokens > 0


def test_what_followed_last_is_drafted_longest_match_first():
    lookup = Lookup([1, 2, 3, 4, 9, 2, 3, 5])
    assert lookup.draft([2, 3], 2) == [5, 2]  # 2 3 stood last before 5
    assert lookup.draft([2, 3, 1], 3) == [2, 3, 4]  # 1 alone
    assert lookup.draft([2, 3, 1, 2, 3], 2) == [4, 9]  # 1 2 3, though 2 3 stood elsewhere later
    assert lookup.draft([2, 3, 1, 2, 3, 7], 2) == []
    assert Lookup([1, 2, 1, 2]).draft([], 5) == [1, 2, 1, 2, 1]  # a text that goes in circles


def test_the_longer_the_run_the_more_is_drafted_and_for_several_rows_less(tiny, prompts):
    text = [*range(100)]
    for run, drafted in ((1, 4), (2, 6), (3, 8), (4, 10), (12, 26)):
        assert Lookup(text).draft(text[40 - run : 40], 99) == text[40 : 40 + drafted]
    assert Lookup(text).draft(text[:40], LONGEST) == text[40 : 40 + LONGEST]

    def widest(rows):
        """Of the drafts in steps of so many rows."""
        widths = []
        heard = having_heard(*(c.token_ids for c in plain.values()))
        engine = Engine(tiny, max_rows=rows)
        engine.drafting_rows = ALL
        for i, ids in enumerate(prompts):
            engine.submit(Request(i, ids, Sampling(), heard=heard))
        while engine.busy:
            engine.step()
            if len(engine._rows) == rows:
                widths += [len(row.draft) for row in engine._rows]
        return max(widths)

    _, plain = ask(tiny, prompts, rows=0)
    assert widest(1) == LONGEST
    assert widest(3) == DRAFT


def test_of_what_was_heard_the_answer_to_the_question_most_like_it_counts_first():
    heard = Heard()
    heard.add([1, 2, 30, 31], prompt_ids=[10, 11, 12])
    heard.add([1, 2, 40, 41], prompt_ids=[10, 21, 22])
    assert Lookup([10, 11, 13], heard).draft([1, 2], 2) == [30, 31]
    assert Lookup([20, 21, 22], heard).draft([1, 2], 2) == [40, 41]
    for n in range(HEARD_TOKENS):
        heard.add([n + 50], prompt_ids=[10])
    assert len(heard.alike([10, 11, 12])) == 4 * (1 + 1)
    assert heard.alike([10, 11, 12]).after((2,), 1) == []  # forgotten with the oldest


def test_an_answer_to_a_question_alike_is_drafted_while_the_prompt_enters(tiny, prompts):
    heard = Heard()
    first, plain = ask(tiny, prompts[:1], rows=1, heard=heard, max_new_tokens=17)
    engine, again = ask(tiny, prompts[:1], rows=1, heard=heard, max_new_tokens=17)
    assert said(again) == said(plain)
    assert engine.counts.steps == first.counts.prefixes + 1  # all of it in the step that enters
    assert engine.counts.accepted_tokens == LONGEST
    several, both = ask(tiny, prompts[:1], rows=1, heard=heard, max_new_tokens=17, n=2)
    assert [c.token_ids for c in both.values()] == [plain[0].token_ids]


@pytest.mark.parametrize("limit", [1, 2, 9])
def test_a_limit_inside_the_first_draft_cuts_the_answer_there(tiny, prompts, limit):
    heard = Heard()
    ask(tiny, prompts, rows=1, max_rows=1, heard=heard)
    _, plain = ask(tiny, prompts, rows=0, max_new_tokens=limit)
    for max_rows in (1, None):
        short = {"heard": heard, "max_new_tokens": limit}
        _, drafted = ask(tiny, prompts, rows=ALL, max_rows=max_rows, **short)
        assert said(drafted) == said(plain)


def test_of_runs_as_long_that_of_the_own_text_counts_and_a_longer_one_before_it():
    heard = having_heard([7, 2, 3, 8])
    assert Lookup([2, 3, 5], heard).draft([2, 3], 1) == [5]
    assert Lookup([2, 3, 5], heard).draft([7, 2, 3], 1) == [8]


def test_what_was_heard_long_ago_is_forgotten():
    heard = having_heard([1, 2, 3], *([[4] * 500] * (HEARD_TOKENS // 500)))
    assert heard.after((1, 2), 1) == [3]
    for _ in range(HEARD_TOKENS // 500 + 1):
        heard.add([5] * 500)
    assert heard.after((1, 2), 1) == [3]
    for _ in range(HEARD_TOKENS // 500 + 1):
        heard.add([6] * 500)
    assert heard.after((1, 2), 1) == []
    assert heard.after((6,), 2) == [6, 6]


def test_many_rows_draft_once_drafts_of_what_was_heard_would_have_paid(tiny, prompts):
    heard = Heard()
    first, _ = ask(tiny, prompts, rows=1, heard=heard)
    assert not heard.pays
    answers = [[*range(n, n + 30)] for n in (0, 100, 200)]
    for answer in answers * 4:
        heard.add(answer)
    assert heard.pays
    _, greedy = ask(tiny, prompts, rows=0)
    engine, drafted = ask(tiny, prompts, rows=1, heard=heard)
    assert engine.counts.drafted_tokens > first.counts.drafted_tokens
    assert said(drafted) == said(greedy)


def test_what_was_heard_does_not_pay_where_every_answer_is_another(tiny):
    heard = Heard()
    for n in range(20):
        heard.add([*range(100 * n, 100 * n + 30)])
    assert not heard.pays


def test_of_an_endless_answer_a_part_is_remembered():
    heard = having_heard(range(10 * HEARD_TOKENS))
    assert heard.after((HEARD_TOKENS - 2,), 1) == [HEARD_TOKENS - 1]
    assert heard.after((HEARD_TOKENS,), 1) == []
