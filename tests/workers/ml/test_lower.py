"""Only a model that is what its lower and then its upper layers give is divided between them."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from core.training.hyperparameters import LoraSettings
from workers.ml import lora
from workers.ml.lower import FREE_SHARE, Indivisible, LowerStates, has_room, kept_bytes
from workers.ml.module import TrainingModule
from workers.ml.packing import Example, groups_of

PREFIX = list(range(5, 45))
EXAMPLES = [Example(n, [*PREFIX, 50 + n], [60 + n, 2]) for n in range(3)]
# Granite scales what comes in, also where it is given as embeddings.
SCALED = {"embedding_multiplier": 12.0}
# Gemma 3 and OLMo 3 look up a layer's kind by its number, counted from the first that is there.
NUMBERED = {"layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 4096}


def adapted(kind: str, **more):
    """A random model of four layers, of which the last one is adapted."""
    config = AutoConfig.for_model(
        kind,
        vocab_size=400,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.1,
        **more,
    )
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(config)
    model = lora.attach_adapter(base, LoraSettings(layers=1), seed=0)
    TrainingModule(model)
    return model


def lower_states(kind: str, **more) -> LowerStates:
    return LowerStates(adapted(kind, **more), EXAMPLES)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "mistral", "gemma"])
def test_what_can_be_divided_is(kind):
    lower = lower_states(kind)
    (group,) = groups_of(EXAMPLES, micro_batch=3)
    lower.fill(group)
    lower.require_same(group)
    assert lower.covers(group)


@pytest.mark.parametrize(("kind", "more"), [("granite", SCALED), ("gemma3_text", NUMBERED)])
def test_a_model_that_would_learn_something_else_is_not_divided(kind, more):
    lower = lower_states(kind, **more)
    (group,) = groups_of(EXAMPLES, micro_batch=3)
    lower.fill(group)
    with pytest.raises(Indivisible):
        lower.require_same(group)


def test_a_model_that_keeps_its_layers_in_another_way_is_not_divided():
    with pytest.raises(Indivisible):
        lower_states("phi")


@pytest.mark.parametrize("share_prefix", [True, False])
def test_there_is_room_where_a_share_of_what_is_free_holds_what_the_lower_layers_give(share_prefix):
    model = adapted("llama")
    size = kept_bytes(model, EXAMPLES, share_prefix=share_prefix)
    enough = int(size / FREE_SHARE) + 1
    assert has_room(model, EXAMPLES, share_prefix=share_prefix, free=enough)
    assert not has_room(model, EXAMPLES, share_prefix=share_prefix, free=enough // 2)
