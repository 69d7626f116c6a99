"""Nodes that keep little give what the plain operations give, and keep what they say."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from workers.ml.nodes import GatedLinear, LoraLinears, Norm

TOKENS, HIDDEN, MLP, RANK = 6, 8, 12, 2
SCALING = 1.5


def drawn(*shape, dtype=torch.float32):
    return torch.randn(*shape, dtype=dtype).requires_grad_()


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def layer():
    return nn.Linear(MLP, HIDDEN).requires_grad_(False)


def plain_layer(layer, x, a, b):
    return layer(x) + SCALING * (x @ a.t()) @ b.t()


def gradients(out, inputs):
    return torch.autograd.grad(out.sin().sum(), inputs)


def kept_bytes(run) -> int:
    """What autograd keeps for the backward pass of `run`."""
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(kept.values())


def test_a_layer_behind_a_gate_gives_what_the_plain_operations_give(layer) -> None:
    gate, up, a, b = drawn(TOKENS, MLP), drawn(TOKENS, MLP), drawn(RANK, MLP), drawn(HIDDEN, RANK)
    wanted = plain_layer(layer, functional.silu(gate) * up, a, b)
    found = GatedLinear.apply(gate, up, layer, SCALING, a, b)
    torch.testing.assert_close(found, wanted)
    for ours, plain in zip(
        gradients(found, [gate, up, a, b]), gradients(wanted, [gate, up, a, b]), strict=True
    ):
        torch.testing.assert_close(ours, plain)


def test_a_layer_behind_a_gate_keeps_no_product_of_its_inputs(layer) -> None:
    gate, up, a, b = drawn(TOKENS, MLP), drawn(TOKENS, MLP), drawn(RANK, MLP), drawn(HIDDEN, RANK)
    joined = kept_bytes(lambda: GatedLinear.apply(2 * gate, 2 * up, layer, SCALING, a, b))
    apart = kept_bytes(
        lambda: LoraLinears.apply(functional.silu(2 * gate) * (2 * up), [layer], [SCALING], a, b)
    )
    assert apart - joined == 2 * TOKENS * MLP * 4  # silu(gate), and the product


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_norm_gives_what_the_plain_operations_give(dtype) -> None:
    x, weight = drawn(TOKENS, HIDDEN, dtype=dtype), torch.rand(HIDDEN, dtype=dtype)
    wide = x.float()
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)
    wanted, found = weight * wide.to(dtype), Norm.apply(x, weight, 1e-5)
    assert torch.equal(found, wanted)
    [ours], [plain] = gradients(found, [x]), gradients(wanted, [x])
    torch.testing.assert_close(ours, plain)
    assert ours.dtype == dtype


def test_a_norm_keeps_its_input_as_it_came() -> None:
    x, weight = drawn(TOKENS, HIDDEN, dtype=torch.bfloat16), torch.rand(HIDDEN).bfloat16()
    kept = kept_bytes(lambda: Norm.apply(x, weight, 1e-5))
    assert kept == TOKENS * HIDDEN * 2 + TOKENS * 4 + HIDDEN * 2
