"""A row whose logits are no numbers is an error of its own, and leaves nothing to the next one."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from tests.tiny_model import build_tiny_model
from workers.ml.engine import Engine
from workers.ml.generation import NOT_FINITE, Request
from workers.ml.loading import load_base
from workers.ml.sampling import Sampling

SCHEMA = "customers(id, name, city) orders(id, total) 客户(编号) "
QUESTIONS = ["How many orders?", "每个城市有多少客户？", "What is the total of all sales in Paris?"]


@pytest.fixture(scope="module")
def tiny_dir(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tiny(tiny_dir):
    return load_base(tiny_dir, precision="fp32")


@pytest.fixture(scope="module")
def overflowing(tiny_dir, tmp_path_factory):
    """An adapter of finite numbers, whose products are beyond what fp32 holds."""
    folder = tmp_path_factory.mktemp("overflowing")
    config = LoraConfig(r=2, target_modules=["v_proj"], init_lora_weights=False)
    adapted = get_peft_model(load_base(tiny_dir, precision="fp32").model, config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.fill_(1e30)
    adapted.save_pretrained(folder)
    return folder


@pytest.fixture
def engine(tiny, overflowing):
    engine = Engine(tiny, max_rows=2)
    engine.load_adapter("broken", overflowing)
    return engine


def request(tiny, identity, *, adapter=None, words="", **sampling):
    question = words + QUESTIONS[identity % len(QUESTIONS)]
    ids = tiny.tokenizer(SCHEMA + question).input_ids
    return Request((adapter, identity), ids, Sampling(8, **sampling), adapter)


def test_those_beside_it_and_after_it_in_its_place_say_what_they_say_alone(tiny, engine):
    sound = [request(tiny, i) for i in range(6)]
    expected = {c.id: c.token_ids for c in Engine(tiny).generate(sound)}
    # Longer than the others: what it leaves behind lies where they have nothing yet.
    broken = request(tiny, 0, adapter="broken", words="many words " * 20)
    engine.submit(broken)
    for one in sound:
        engine.submit(one)
    found = {c.id: c for c in engine.run()}
    assert found[broken.id].error == NOT_FINITE
    assert found[broken.id].finish_reason == "error"
    assert {c.id: c.token_ids for c in found.values() if c.error is None} == expected


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_several_answers_to_one_prompt_are_one_error(tiny, engine, temperature):
    broken = request(tiny, 1, adapter="broken", n=5, temperature=temperature)
    found = [*engine.generate([broken, request(tiny, 2)])]
    assert [c.id for c in found if c.error is not None] == [broken.id]
    assert len(found) == 2 and not engine.busy
    assert engine.counts.accepted_tokens >= 0
