"""Several answers to one prompt come of one prefill, each with draws of its own."""

import pytest
import torch

from tests.tiny_model import build_tiny_model
from workers.ml.engine import Engine
from workers.ml.generation import Request
from workers.ml.loading import load_base
from workers.ml.sampling import Sampling

PROMPTS = ["How many orders did each customer place?", "What is the total?"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load_base(build_tiny_model(tmp_path_factory.mktemp("tiny")), precision="fp32")


def answers(engine, tiny, **sampling):
    """Token ids by request and index."""
    sampling = Sampling(**{"max_new_tokens": 8, "temperature": 0.9, "seed": 5, **sampling})
    prompts = [tiny.tokenizer(text).input_ids for text in PROMPTS]
    requests = [Request(i, ids, sampling) for i, ids in enumerate(prompts)]
    return {(c.id, c.index): c.token_ids for c in engine.generate(requests)}


def test_the_prompt_is_computed_once_for_all_its_answers(tiny):
    engine = Engine(tiny)
    found = list(
        engine.generate(
            [Request(0, tiny.tokenizer(PROMPTS[0]).input_ids, Sampling(8, temperature=0.9, n=4))]
        )
    )
    prompt = len(tiny.tokenizer(PROMPTS[0]).input_ids)
    decoded = sum(completion.completion_tokens - 1 for completion in found)
    assert sorted(completion.index for completion in found) == [0, 1, 2, 3]
    assert engine.counts.trunk_tokens == prompt + decoded
    assert engine.counts.head_tokens == 1 + decoded


def test_the_first_answer_is_that_of_one_alone_and_the_others_differ(tiny):
    alone, together = answers(Engine(tiny), tiny), answers(Engine(tiny), tiny, n=4)
    assert {key: together[key] for key in alone} == alone
    assert len(together) == 8
    assert len({tuple(ids) for (request, _), ids in together.items() if request == 0}) == 4


def test_answers_are_the_same_for_a_seed_however_few_places_there_are(tiny):
    expected = answers(Engine(tiny), tiny, n=5)
    assert answers(Engine(tiny), tiny, n=5) == expected
    assert answers(Engine(tiny, max_rows=3), tiny, n=5) == expected
    assert answers(Engine(tiny, max_rows=1), tiny, n=5) == expected
    assert answers(Engine(tiny), tiny, n=5, seed=6) != expected


def test_neighbouring_seeds_share_no_answer(tiny):
    first, second = answers(Engine(tiny), tiny, n=3), answers(Engine(tiny), tiny, n=3, seed=6)
    assert not {tuple(ids) for ids in first.values()} & {tuple(ids) for ids in second.values()}


def test_greedy_answers_to_one_prompt_are_one_answer(tiny):
    alone = answers(Engine(tiny), tiny, temperature=0.0)
    found = answers(Engine(tiny), tiny, temperature=0.0, n=3)
    assert found == {(request, i): ids for (request, _), ids in alone.items() for i in range(3)}


def test_memory_that_runs_out_loses_no_answer(tiny):
    class Full(Engine):
        def _forward(self, batch):
            if len(batch.adapters) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super()._forward(batch)

    assert answers(Full(tiny), tiny, n=5) == answers(Engine(tiny), tiny, n=5)


def test_no_answer_at_all_can_not_be_asked_for():
    with pytest.raises(ValueError, match="at least 1"):
        Sampling(n=0)
