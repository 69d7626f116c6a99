"""The engine's scores are those of a plain forward, and asking for them changes no token."""

import pytest
import torch

from tests.tiny_model import build_tiny_model
from tests.workers.ml.test_engine_memory import Full
from workers.ml.drafts import Heard
from workers.ml.engine import Engine
from workers.ml.generation import Request
from workers.ml.loading import load_base
from workers.ml.sampling import Sampling

SCHEMA = "customers(id, name, city) orders(id, total) 客户(编号, 姓名) "
QUESTIONS = [
    "How many orders?",
    "总销售额是多少？",
    "SELECT name, city FROM customers WHERE name = 'x' AND city = 'x'",
]
ALL = 99
DRAWN = {"temperature": 0.9, "top_p": 0.8, "seed": 3}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load_base(build_tiny_model(tmp_path_factory.mktemp("tiny")), precision="fp32")


@pytest.fixture(scope="module")
def prompts(tiny):
    return [tiny.tokenizer(SCHEMA + question).input_ids for question in QUESTIONS]


def ask(engine, prompts, *, drafting=0, heard=None, **sampling):
    engine.drafting_rows = drafting
    sampling = Sampling(**{"max_new_tokens": 24, **sampling})
    requests = [Request(i, ids, sampling, None, heard) for i, ids in enumerate(prompts)]
    return {(done.id, done.index): done for done in engine.generate(requests)}


def said(answers):
    return {key: (one.token_ids, one.text, one.finish_reason) for key, one in answers.items()}


def check(tiny, prompts, answers, *, best):
    """Each score against transformers' own forward of the whole text."""
    for (number, _), one in answers.items():
        ids = torch.tensor([prompts[number] + one.token_ids])
        with torch.inference_mode():
            logits = tiny.model(ids).logits[0, len(prompts[number]) - 1 : -1]
        chances = logits.float().log_softmax(-1)
        assert len(one.scores) == len(one.token_ids)
        for place, (token, score) in enumerate(zip(one.token_ids, one.scores, strict=True)):
            assert score.logprob == pytest.approx(float(chances[place, token]), abs=1e-4)
            values = chances[place].topk(best).values.tolist()
            assert [its for _, its in score.best] == pytest.approx(values, abs=1e-4)
            for other, its in score.best:
                assert its == pytest.approx(float(chances[place, other]), abs=1e-4)


@pytest.mark.parametrize("how", [{}, DRAWN], ids=["greedy", "drawn"])
@pytest.mark.parametrize("best", [0, 5])
def test_scores_are_those_of_a_plain_forward_and_the_tokens_are_the_same(tiny, prompts, how, best):
    plain = ask(Engine(tiny), prompts, **how)
    asked = ask(Engine(tiny), prompts, logprobs=best, **how)
    assert said(asked) == said(plain)
    check(tiny, prompts, asked, best=best)
    assert all(one.scores == [] for one in plain.values())


def test_each_token_of_a_draft_that_holds_has_its_own(tiny, prompts):
    plain = ask(Engine(tiny), prompts)
    engine = Engine(tiny)
    asked = ask(engine, prompts, drafting=ALL, logprobs=3)
    assert 0 < engine.counts.accepted_tokens < engine.counts.drafted_tokens
    assert said(asked) == said(plain)
    check(tiny, prompts, asked, best=3)


def test_behind_an_end_inside_a_draft_there_are_none(tiny, prompts):
    free = ask(Engine(tiny), prompts[:1])[0, 0]
    heard = Heard()
    heard.add((*prompts[0], *free.token_ids))
    engine = Engine(tiny)
    engine.endings.tokens = {free.token_ids[6]}
    ended = ask(engine, prompts[:1], drafting=1, heard=heard, logprobs=1)
    assert len(ended[0, 0].token_ids) == free.token_ids.index(free.token_ids[6])
    check(tiny, prompts, ended, best=1)


@pytest.mark.parametrize("how", [{}, DRAWN], ids=["greedy", "drawn"])
def test_each_of_several_answers_has_its_own(tiny, prompts, how):
    plain = ask(Engine(tiny), prompts, n=3, **how)
    asked = ask(Engine(tiny), prompts, n=3, logprobs=2, **how)
    assert len(asked) == 9
    assert said(asked) == said(plain)
    check(tiny, prompts, asked, best=2)


def test_rows_that_ask_and_rows_that_do_not_share_a_step(tiny, prompts):
    engine = Engine(tiny)
    for number, ids in enumerate(prompts):
        logprobs = 2 if number == 1 else None
        engine.submit(Request(number, ids, Sampling(max_new_tokens=9, logprobs=logprobs)))
    answers = {(done.id, done.index): done for done in engine.run()}
    assert [bool(answers[number, 0].scores) for number in range(3)] == [False, True, False]
    check(tiny, prompts, {(1, 0): answers[1, 0]}, best=2)


def test_rows_that_begin_again_after_full_memory_have_each_score_once(tiny, prompts):
    plain = ask(Engine(tiny), prompts)
    engine = Full(tiny)
    engine.room = 3
    again = {}
    sampling = Sampling(max_new_tokens=24, logprobs=2)
    for number, ids in enumerate(prompts):
        engine.submit(Request(number, ids, sampling))
    while engine.busy:
        again |= {(done.id, done.index): done for done in engine.step()}
        if engine.counts.steps == 6:
            engine.room = 1
    assert engine.places.most == 1
    assert said(again) == said(plain)
    check(tiny, prompts, again, best=2)
