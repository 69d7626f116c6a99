"""What runs on a GPU alone, held against a CPU: `make gpu-check`."""

import pytest
import torch

from core.training.hyperparameters import LoraSettings
from tests.tiny_model import build_tiny_model
from workers.ml import lora
from workers.ml.loading import load_base
from workers.ml.module import TrainingModule
from workers.ml.packing import Example, groups_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("tiny"))


def examples():
    """Two schemas and an example that shares nothing."""
    below = [
        Example(k, [*range(10 + k % 2, 40 + 9 * (k % 2)), 90 + k], [*range(60, 65 + k)])
        for k in range(6)
    ]
    return [*below, Example(6, [5, 80, 81], [82, 83])]


def gradients(directory, device, *, checkpointing=False, **options):
    """Loss and gradients of a step in two groups."""
    loaded = load_base(directory, device=device, **options)
    model = lora.attach_adapter(loaded.model, LoraSettings(), seed=1)
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = (torch.randn(parameter.shape, generator=generator) / 10).to(device)
    lora.speed_up(model)
    module = TrainingModule(model).train()
    if checkpointing:
        module.checkpoint_activations()
    total = 0
    for group in groups_of(examples(), micro_batch=4):
        loss, _ = module(group.to(device))
        loss.backward()
        total += loss.item()
    found = {n: p.grad.float().cpu() for n, p in model.named_parameters() if p.requires_grad}
    return total, found


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"precision": "fp32"}, 0.005),  # TF32, where torch takes it
        ({"precision": "bf16"}, 0.1),
        ({"precision": "fp32", "quantization": "8bit"}, 0.005),
        ({"precision": "fp32", "quantization": "4bit"}, 0.005),
    ],
    ids=["fp32", "bf16", "8 bit", "4 bit"],
)
def test_a_step_learns_what_it_learns_on_a_cpu(directory, options, tolerance, checkpointing):
    exact = gradients(directory, "cpu", **options | {"precision": "fp32"})
    found = gradients(directory, "cuda", checkpointing=checkpointing, **options)
    assert found[0] == pytest.approx(exact[0], rel=tolerance)
    for name, gradient in exact[1].items():
        assert (found[1][name] - gradient).norm() <= tolerance * gradient.norm(), name
