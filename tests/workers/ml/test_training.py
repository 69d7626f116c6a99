"""What a training prepares before its first step."""

import torch
from accelerate import Accelerator

from core.training.hyperparameters import LoraSettings
from tests.tiny_model import build_tiny_model
from workers.ml import lora
from workers.ml.loading import load_base
from workers.ml.packing import Example
from workers.ml.plan import Plan
from workers.ml.training import Training

PLAN = Plan(
    epochs=1,
    batch_size=2,
    micro_batch=2,
    learning_rate=0.001,
    schedule="constant",
    warmup_ratio=0.0,
    weight_decay=0.0,
    max_grad_norm=1.0,
    precision="fp16",
    save_seconds=60,
    save_steps=None,
    early_stopping=None,
    seed=1,
)


class Scaling(Accelerator):
    """As on a GPU in fp16, with the scaler that a CPU has."""

    def __init__(self, **settings):
        super().__init__(cpu=True)
        self.scaler = torch.amp.GradScaler("cpu")


def test_in_fp16_a_rank_without_an_example_can_take_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr("workers.ml.training.Accelerator", Scaling)
    base = load_base(build_tiny_model(tmp_path), precision="fp32").model
    model = lora.attach_adapter(base, LoraSettings(), seed=1)
    examples = [Example(0, [5, 6], [7])]
    training = Training(model, examples, [], PLAN, sizing=None, reporter=None, device="cpu")
    for parameter in training.parameters:  # the others' sum
        parameter.grad = torch.ones_like(parameter)
    training.accelerator.scaler.unscale_(training.optimizer)
    assert all(parameter.grad.max() < 1 for parameter in training.parameters)
