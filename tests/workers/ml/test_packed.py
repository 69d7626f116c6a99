"""Packed weights give the same products, and only such weights are packed as lose nothing by it."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from workers.ml import memory
from workers.ml.packed import MEMORY_SHARE, fits, packed

CHANCE = torch.Generator().manual_seed(1)
pytestmark = pytest.mark.skipif(
    "fbgemm" not in torch.backends.quantized.supported_engines, reason="needs an x86 CPU with AVX2"
)


@pytest.mark.parametrize("shape", [(1, 64), (1, 9, 64), (2, 40, 64)])
@pytest.mark.parametrize("outputs", [7, 96, 398])
def test_a_packed_product_is_that_of_the_weights(shape, outputs):
    x = torch.randn(shape, generator=CHANCE)
    whole = torch.randint(-127, 128, (outputs, 64), generator=CHANCE, dtype=torch.int8)
    read = torch.randn(outputs, 64, generator=CHANCE).bfloat16().float()
    for weight in (whole, read):
        exact = x.double() @ weight.double().t()
        product = packed(weight, torch.float32)(x)
        assert product.shape == (*shape[:-1], outputs)
        torch.testing.assert_close(product.double(), exact, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("tokens", [0, 1, 5, 64, 130])
@pytest.mark.parametrize("biased", [False, True])
def test_a_product_packed_for_bf16_is_the_plain_one(tokens, biased):
    x = torch.randn(1, tokens, 64, generator=CHANCE).bfloat16()
    bias = torch.randn(96, generator=CHANCE).bfloat16() if biased else None
    whole = torch.randint(-127, 128, (96, 64), generator=CHANCE, dtype=torch.int8)
    for weight in (whole, torch.randn(96, 64, generator=CHANCE).bfloat16()):
        expected = functional.linear(x, weight.bfloat16(), bias)
        product = packed(weight, torch.bfloat16, bias)
        found = expected if product is None else product(x)
        torch.testing.assert_close(found, expected, atol=1e-2, rtol=2**-7)
        assert found.shape == (1, tokens, 96)


def test_a_bias_is_added_in_float32_too():
    weight = torch.randn(32, 64, generator=CHANCE).bfloat16().float()
    bias, x = torch.randn(32, generator=CHANCE), torch.randn(3, 64, generator=CHANCE)
    expected = functional.linear(x, weight, bias)
    found = packed(weight, torch.float32, bias)(x)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_what_is_not_in_one_piece_is_multiplied_too():
    weight = torch.randn(32, 64, generator=CHANCE).bfloat16().float()
    x = torch.randn(64, 9, generator=CHANCE).t()
    product = packed(weight, torch.float32)
    torch.testing.assert_close(product(x), x @ weight.t(), atol=1e-4, rtol=1e-4)


def test_weights_that_float16_rounds_or_cannot_hold_are_not_packed():
    weight = torch.randn(32, 64, generator=CHANCE).bfloat16().float()
    assert packed(weight, torch.float32) is not None
    for wrong in (1 / 3, 1e6, float("inf"), float("nan")):
        other = weight.clone()
        other[3, 5] = wrong
        assert packed(other, torch.float32) is None
    tiny = weight.clone()
    tiny[3, 5] = 1e-9  # rounded to zero: less than float32 rounds the others
    assert packed(tiny, torch.float32) is not None


def test_packed_weights_must_fit_into_a_share_of_the_free_memory(monkeypatch):
    layers = [nn.Linear(8, 16), nn.Linear(16, 8)]
    needed = 2 * 2 * 8 * 16
    monkeypatch.setattr(memory, "available", lambda device: needed / MEMORY_SHARE)
    assert fits(layers)
    monkeypatch.setattr(memory, "available", lambda device: needed / MEMORY_SHARE - 8)
    assert not fits(layers)
