"""A model in 8 bit is judged as the one that is trained."""

import pytest
import torch

from core.training.hyperparameters import LoraSettings
from tests.tiny_model import build_tiny_model
from workers.ml import lora
from workers.ml.loading import load_base
from workers.ml.lower import LowerStates
from workers.ml.module import TrainingModule
from workers.ml.packing import Example, groups_of
from workers.ml.quantization import evaluation

EXAMPLES = [Example(n, [*range(5, 45), 50 + n], [60 + n, 2]) for n in range(3)]


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """Of its four layers the last one is adapted: the others' forwards are bitsandbytes'."""
    directory = build_tiny_model(tmp_path_factory.mktemp("tiny"), layers=4)
    loaded = load_base(directory, quantization="8bit", precision="fp32")
    model = lora.attach_adapter(loaded.model, LoraSettings(layers=1), seed=0)
    lora.speed_up(model)
    return TrainingModule(model)


def loss(module):
    (group,) = groups_of(EXAMPLES, micro_batch=3)
    with torch.no_grad():
        return module(group)[0].item()


def test_evaluation_computes_what_training_does_and_leaves_modes_as_they_were(module):
    modes = [part.training for part in module.train().modules()]
    trained = loss(module)
    with evaluation(module):
        assert not module.training
        assert loss(module) == trained
    assert [part.training for part in module.modules()] == modes
    module.eval()
    assert loss(module) != trained, "bitsandbytes computes otherwise then: that is why"


@pytest.mark.parametrize("mode", [True, False], ids=["in training", "in evaluation"])
def test_what_the_lower_layers_give_is_what_training_would_compute(module, mode):
    module.train()
    trained = loss(module)
    (group,) = groups_of(EXAMPLES, micro_batch=3)
    lower = LowerStates(module.model, EXAMPLES)
    module.train(mode)
    lower.fill(group)
    lower.require_same(group)
    module.lower = lower
    try:
        assert loss(module.train()) == pytest.approx(trained, rel=1e-5)
    finally:
        module.lower = None
