"""Lean forwards compute what the layers that they stand in for compute."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from tests.tiny_model import build_tiny_model
from workers.ml.adapters import Adapters
from workers.ml.inference import Inference, lean_forwards
from workers.ml.loading import load_base
from workers.ml.quantization import dense_weight


@pytest.fixture(scope="module")
def tiny_dir(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("tiny"))


def with_adapter(model, **settings):
    torch.manual_seed(3)
    config = LoraConfig(
        r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False, **settings
    )
    return get_peft_model(model, config).eval()


def logits(model, ids):
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits.float()


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.15)])
def test_a_lean_adapter_is_pefts_own(tiny_dir, precision, tolerance):
    model = with_adapter(load_base(tiny_dir, precision=precision).model)
    ids = list(range(5, 45))
    plain = logits(model, ids)
    with Inference(model.get_base_model(), attention="sdpa"):
        lean = logits(model, ids)
    torch.testing.assert_close(lean, plain, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(logits(model, ids), plain)  # and PEFT's stands there again


def test_all_layers_of_a_plain_adapter_are_lean_and_none_of_another_kind(tiny_dir):
    plain = with_adapter(load_base(tiny_dir, precision="fp32").model)
    assert len(lean_forwards(plain, Adapters(plain))) == 2 * 7
    dora = with_adapter(load_base(tiny_dir, precision="fp32").model, use_dora=True)
    assert lean_forwards(dora, Adapters(dora)) == []
    with plain.disable_adapter():
        assert lean_forwards(plain, Adapters(plain)) == []


@pytest.mark.parametrize("tokens", [1, 8, 40])
def test_an_8bit_layer_computes_with_its_weights_and_unrounded_inputs(tiny_dir, tokens):
    model = load_base(tiny_dir, quantization="8bit", precision="bf16").model
    layer = model.model.layers[0].mlp.gate_proj
    [forward] = [f for module, f in lean_forwards(model, Adapters(model)) if module is layer]
    x = torch.randn(1, tokens, 64, generator=torch.Generator().manual_seed(tokens)).bfloat16()
    scale = layer.state.SCB if layer.state.SCB is not None else layer.weight.SCB
    exact = x.float() @ (layer.weight.data.float() * scale.view(-1, 1) / 127).t()
    torch.testing.assert_close(forward(x).float(), exact, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("tokens", [1, 9, 40])
@pytest.mark.parametrize("room", [True, False], ids=["packed", "no room to pack"])
def test_an_8bit_layer_in_float32_computes_exactly(tiny_dir, tokens, room, monkeypatch):
    monkeypatch.setattr("workers.ml.packed.MEMORY_SHARE", 0.25 if room else 0.0)
    model = load_base(tiny_dir, quantization="8bit", precision="fp32").model
    layer = model.model.layers[0].mlp.gate_proj
    [forward] = [f for module, f in lean_forwards(model, Adapters(model)) if module is layer]
    x = torch.randn(1, tokens, 64, generator=torch.Generator().manual_seed(tokens))
    exact = x.double() @ dense_weight(layer, torch.float64).t()
    torch.testing.assert_close(forward(x).double(), exact, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("tokens", [1, 40])
def test_a_4bit_layer_computes_with_the_weights_that_it_stands_for(tiny_dir, tokens):
    """As bitsandbytes' own forward does, but for CPUs where that rounds them to bf16."""
    model = load_base(tiny_dir, quantization="4bit", precision="fp32").model
    layer = model.model.layers[0].mlp.gate_proj
    [forward] = [f for module, f in lean_forwards(model, Adapters(model)) if module is layer]
    x = torch.randn(1, tokens, 64, generator=torch.Generator().manual_seed(tokens))
    exact = x @ dense_weight(layer, torch.float32).t()
    torch.testing.assert_close(forward(x), exact, atol=1e-4, rtol=1e-4)


def test_an_8bit_layer_with_an_adapter_adds_it(tiny_dir):
    model = with_adapter(load_base(tiny_dir, quantization="8bit", precision="fp32").model)
    ids = list(range(5, 45))
    with Inference(model.get_base_model(), attention="sdpa"):
        lean = logits(model, ids)
    plain = logits(model, ids)  # bitsandbytes rounds the inputs too: near, not equal
    cosine = nn.functional.cosine_similarity(lean.flatten(), plain.flatten(), dim=0)
    assert cosine > 0.99
    assert not torch.equal(lean, plain)


def test_an_error_inside_gives_the_model_back(tiny_dir):
    model = with_adapter(load_base(tiny_dir, precision="fp32").model)
    base = model.get_base_model()
    attention = base.config._attn_implementation
    with pytest.raises(ZeroDivisionError), Inference(base, attention="eager"):
        raise ZeroDivisionError
    assert base.config._attn_implementation == attention
    assert not any("forward" in module.__dict__ for module in base.modules())
    assert not torch.is_inference_mode_enabled()
