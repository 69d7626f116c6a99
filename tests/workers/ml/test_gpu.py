"""What runs on a GPU alone, held against a CPU: `make gpu-check`."""

import pytest
import torch

from benchmarks.training.loop import build_training
from core.training.hyperparameters import LoraSettings
from tests.tiny_model import build_tiny_model
from tests.workers.ml.test_adapters import save_adapter
from workers.ml import lora
from workers.ml.engine import Engine
from workers.ml.generation import Request
from workers.ml.loading import load_base
from workers.ml.module import TrainingModule
from workers.ml.packing import Example, groups_of
from workers.ml.sampling import Sampling

DEVICE = "cuda"

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
    found = gradients(directory, DEVICE, checkpointing=checkpointing, **options)
    assert found[0] == pytest.approx(exact[0], rel=tolerance)
    for name, gradient in exact[1].items():
        assert (found[1][name] - gradient).norm() <= tolerance * gradient.norm(), name


QUESTIONS = ["How many orders?", "x", "What is the total of all sales?", "每个城市有多少客户？"]


@pytest.fixture(scope="module")
def adapters(directory, tmp_path_factory):
    """Two, of other ranks and layers."""
    folder = tmp_path_factory.mktemp("adapters")
    kinds = {"sales": {"r": 4}, "staff": {"r": 12, "target_modules": ["q_proj", "v_proj"]}}
    return {
        name: save_adapter(
            directory, folder / name, seed, **({"target_modules": "all-linear"} | kind)
        )
        for seed, (name, kind) in enumerate(kinds.items())
    }


def answers(directory, device, adapters, **options):
    """Greedy and drawn, of the model and of its adapters, in one batch behind one schema."""
    loaded = load_base(directory, device=device, **options)
    engine = Engine(loaded)
    for name, folder in adapters.items():
        engine.load_adapter(name, folder)
    requests = [
        Request(
            (name, n, text), loaded.tokenizer("orders(id, total) " * 9 + text).input_ids, how, name
        )
        for name in (None, *adapters)
        for text in QUESTIONS
        for n, how in enumerate((Sampling(12), Sampling(12, temperature=0.8, seed=5, n=2)))
    ]
    done = list(engine.generate(requests))
    assert not [one.error for one in done if one.error]
    return {(*one.id, one.index): one.token_ids for one in done}


def test_answers_are_those_of_a_cpu_also_with_several_adapters_in_a_batch(directory, adapters):
    exact = answers(directory, "cpu", adapters, precision="fp32")
    found = answers(directory, DEVICE, adapters, precision="fp32")
    assert found.keys() == exact.keys() and len(found) == 36
    greedy = {key for key in exact if not key[1]}
    assert {key: found[key] for key in greedy} == {key: exact[key] for key in greedy}


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_a_quantised_model_answers_every_question(directory, adapters, quantization):
    """None with an error, as one is at which the model computes no numbers."""
    found = answers(directory, DEVICE, adapters, quantization=quantization)
    assert len(found) == 36


def test_in_fp16_a_training_scales_its_loss_and_learns(directory):
    loaded = load_base(directory, device=DEVICE, precision="fp16")
    model = lora.attach_adapter(loaded.model, LoraSettings(), seed=1)
    layers = loaded.model.config.num_hidden_layers
    training = build_training(
        model, loaded, examples(), batch_size=7, micro_batch=4, layers=layers, epochs=20
    )
    assert training.accelerator.scaler is not None
    first = training.step(examples())
    assert training.run()["train_loss"] < first
