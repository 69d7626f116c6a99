"""Which modules of a model in training keep less, and which are left as they are."""

import pytest
import torch
from torch import nn

from core.training.hyperparameters import LoraSettings
from tests.tiny_model import build_tiny_model
from workers.ml import lora
from workers.ml.loading import load_base

LAYERS = 2


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("tiny"), layers=LAYERS)


def attach(directory, quantization="none", **settings):
    base = load_base(directory, quantization=quantization, precision="fp32")
    return lora.attach_adapter(base.model, LoraSettings(**settings), seed=0)


def replaced(model) -> dict[str, int]:
    """Modules with a forward of their own, by the name of their class."""
    counts: dict[str, int] = {}
    for module in model.modules():
        if "forward" in vars(module):
            counts[type(module).__name__] = counts.get(type(module).__name__, 0) + 1
    return counts


@pytest.mark.parametrize("quantization", ["none", "8bit"])
def test_norms_and_gated_layers_keep_less(directory, quantization) -> None:
    model = attach(directory, quantization)
    lora.speed_up(model)
    names = replaced(model)
    assert sum(n for name, n in names.items() if "RMSNorm" in name) == 2 * LAYERS + 1
    assert sum(n for name, n in names.items() if "MLP" in name) == LAYERS


def test_a_gated_layer_whose_last_is_not_adapted_is_left_as_it_is(directory) -> None:
    model = attach(directory, target_modules=("q_proj", "v_proj"))
    lora.speed_up(model)
    assert not any("MLP" in name for name in replaced(model))


def test_what_only_looks_the_same_is_left_as_it_is(directory) -> None:
    model = attach(directory)
    decoder = model.get_base_model().get_decoder()
    decoder.layers[0].mlp.act_fn = nn.GELU()
    norm = decoder.norm
    plain = type(norm).forward

    class Shifted(type(norm)):
        def forward(self, x):
            return plain(self, x) + 1

    norm.__class__ = Shifted
    lora.speed_up(model)
    assert "forward" not in vars(decoder.layers[0].mlp) and "forward" not in vars(norm)
    assert "forward" in vars(decoder.layers[1].mlp)


def test_without_gradients_a_module_does_what_it_always_did(directory) -> None:
    model = attach(directory)
    lora.speed_up(model)
    mlp, asked = model.get_base_model().get_decoder().layers[0].mlp, []
    mlp.down_proj.forward = lambda x: asked.append(x) or x
    mlp(torch.ones(1, 1, model.config.hidden_size))
    assert not asked
    with torch.no_grad():
        mlp(torch.ones(1, 1, model.config.hidden_size))
    assert asked
