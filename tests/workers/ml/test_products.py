"""Layers with one input are one product, and each gets what it would have computed."""

import pytest
import torch
from torch import nn

from tests.tiny_model import build_tiny_model
from workers.ml import packed
from workers.ml.loading import load_base
from workers.ml.products import products
from workers.ml.quantization import dense_weight


@pytest.fixture(scope="module")
def tiny_dir(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("quantization", ["none", "8bit"])
def test_each_layer_computes_its_own_part_in_whatever_order_it_is_asked(tiny_dir, quantization):
    model = load_base(tiny_dir, quantization=quantization, precision="fp32").model
    for parameter in model.parameters():  # as a model is published: bf16, which float16 holds
        if parameter.is_floating_point():
            parameter.data = parameter.data.bfloat16().float()
    forwards = products(model)
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert forwards.keys() == set(linear) or not packed.fits(linear)
    attention = model.model.layers[0].self_attn
    layers = [attention.v_proj, attention.q_proj, attention.k_proj]
    chance = torch.Generator().manual_seed(1)
    for x in (torch.randn(1, 9, 64, generator=chance), torch.randn(2, 3, 64, generator=chance)):
        for layer in (*layers, layers[0]):
            exact = x.double() @ dense_weight(layer, torch.float64).t()
            out = forwards[layer](x)
            out.add_(1.0)  # an adapter's part goes onto it in place, and into no other layer's
            torch.testing.assert_close(out.double() - 1.0, exact, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tokens", [1, 4, 5, 40])
def test_8_bit_weights_that_were_cast_once_for_bf16_give_the_same_products(tiny_dir, tokens):
    model = load_base(tiny_dir, quantization="8bit", precision="bf16").model
    x = torch.randn(1, tokens, 64, generator=torch.Generator().manual_seed(1)).bfloat16()
    attention = model.model.layers[0].self_attn
    layers = [attention.q_proj, attention.k_proj, attention.v_proj]
    forwards = products(model)
    for layer in layers:
        exact = x.double() @ dense_weight(layer, torch.float64).t()
        error = forwards[layer](x).double() - exact
        assert error.norm() < 0.01 * exact.norm()


def test_siblings_with_biases_keep_them():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate_proj, self.up_proj = nn.Linear(32, 8), nn.Linear(32, 16)
            self.down_proj = nn.Linear(16, 32, bias=False)
            self.tokens = nn.Embedding(4, 32)

        def get_input_embeddings(self):
            return self.tokens

    block = Block()
    for parameter in block.parameters():
        parameter.data = parameter.data.bfloat16().float()
    x = torch.randn(5, 32)
    for layer, forward in products(block).items():
        given = x[:, : layer.in_features].contiguous()
        torch.testing.assert_close(forward(given), layer(given), atol=1e-5, rtol=1e-5)
