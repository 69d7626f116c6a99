"""Linear layers with one input are found, and whichever is asked first computes for all."""

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from tests.tiny_model import build_tiny_model
from workers.ml.loading import load_base
from workers.ml.siblings import Together, base_of, children, linear_layers, siblings


class Block(nn.Module):
    def __init__(self, **widths):
        super().__init__()
        for name, width in widths.items():
            self.add_module(name, nn.Linear(width, 4))


def names(block, groups):
    of = {module: name for name, module in block.named_children()}
    return [[of[module] for module in group] for group in groups]


def test_layers_that_usually_have_one_input_stand_together():
    block = Block(q_proj=8, o_proj=8, v_proj=8, k_proj=8, gate_proj=8)
    found = names(block, children(block, set(block.children())))
    assert found == [["q_proj", "k_proj", "v_proj"], ["gate_proj"], ["o_proj"]]


def test_layers_of_other_widths_have_another_input():
    block = Block(gate_proj=8, up_proj=6)
    assert names(block, children(block, set(block.children()))) == [["gate_proj"], ["up_proj"]]


def test_only_the_chosen_layers_are_given_and_each_once():
    first = Block(q_proj=8, k_proj=8, v_proj=8)
    second = Block(o_proj=8)
    second.add_module("again", first.q_proj)
    model = nn.ModuleList([first, second])
    chosen = [first.q_proj, first.v_proj, second.o_proj]
    assert list(siblings(model, chosen)) == [(first.q_proj, first.v_proj), (second.o_proj,)]


def test_a_peft_layer_stands_for_the_linear_layer_inside_it(tmp_path):
    model = load_base(build_tiny_model(tmp_path), precision="fp32").model
    plain = list(linear_layers(model))
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "embed_tokens"]))
    found = list(linear_layers(adapted.get_base_model()))
    assert [base_of(module) for module in found] == plain
    assert sum(hasattr(module, "lora_A") for module in found) == 2  # a layer's each


def test_one_product_serves_all_and_nothing_is_kept_when_all_have_asked():
    given = []
    together = Together(lambda x: given.append(x) or (x, 2 * x))
    x, other = torch.ones(1, 2), torch.full((1, 2), 3.0)
    assert torch.equal(together.part(1, x), 2 * x) and torch.equal(together.part(0, x), x)
    assert len(given) == 1
    assert together._given is None and not together._parts
    assert torch.equal(together.part(0, other), other)
    assert torch.equal(together.part(1, x), 2 * x)  # another tensor: computed anew
    assert len(given) == 3
    together.forget()
    assert together._given is None and not together._parts
