import gc
import weakref
from contextlib import nullcontext

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM

from core.errors import JobFailure
from core.training.hyperparameters import LoraSettings
from tests.tiny_model import build_tiny_model
from workers.ml import lora
from workers.ml.loading import load_base


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("tiny"))


def attach(directory, *, precision="bf16", **settings):
    base = load_base(directory, precision=precision)
    return lora.attach_adapter(base.model, LoraSettings(**settings), seed=0)


def test_all_linear_layers_but_the_head_are_adapted_with_fp32_masters(directory):
    model = attach(directory)
    names = {n.split(".lora_")[0].rsplit(".", 1)[-1] for n in model.state_dict() if "lora_" in n}
    assert names == {
        *("q_proj", "k_proj", "v_proj", "o_proj"),
        *("gate_proj", "up_proj", "down_proj"),
    }
    assert {p.dtype for p in lora.trainable_parameters(model)} == {torch.float32}


def test_the_same_seed_gives_the_same_adapter(directory):
    one, two = (attach(directory).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(("use_rslora", "scaling"), [(False, 2.0), (True, 8.0)])
def test_plain_peft_loads_what_was_saved(directory, tmp_path, use_rslora, scaling):
    model = attach(directory, precision="fp32", layers=1, use_rslora=use_rslora)
    scalings = [m.scaling["default"] for m in model.modules() if isinstance(m, LoraLayer)]
    assert set(scalings) == {scaling}
    lora.speed_up(model)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_()
    model.save_pretrained(tmp_path / "adapter")

    base = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    loaded = PeftModel.from_pretrained(base, tmp_path / "adapter")
    ids = torch.arange(3, 20).unsqueeze(0)
    with torch.no_grad():
        ours, theirs = model(input_ids=ids).logits, loaded(input_ids=ids).logits
        plain = loaded.unload()(input_ids=ids).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert (ours - plain).abs().max() > 0.5


@pytest.mark.parametrize("wrong", [{"layers": 3}, {"layers": 0}, {"target_modules": ("lm_head",)}])
def test_layers_that_the_model_lacks_are_refused(directory, wrong):
    with pytest.raises(JobFailure) as refused:
        attach(directory, **wrong)
    assert refused.value.klass == "config"


class Parent(torch.nn.Module):
    """Asks all of its layers, or fails after the first."""

    fails = False

    def forward(self, x):
        asked = [self.q_proj(x)]
        if self.fails:
            raise MemoryError
        return [*asked, self.k_proj(x), self.v_proj(x)]


def adapter_of_three():
    """q, k and v (with a bias) below one parent; B is not zero."""
    parent = Parent()
    for name, width in (("q_proj", 6), ("k_proj", 4), ("v_proj", 4)):
        parent.add_module(name, torch.nn.Linear(8, width, bias=True))
    torch.manual_seed(0)
    config = LoraConfig(r=2, lora_alpha=6, target_modules=["q_proj", "k_proj", "v_proj"])
    model = get_peft_model(parent, config)
    for parameter in model.parameters():
        parameter.data.normal_()
    return model, model.get_base_model()


def outputs_and_gradients(model, parent, *inputs):
    q, k, v = parent.q_proj(inputs[0]), parent.k_proj(inputs[1]), parent.v_proj(inputs[2])
    model.zero_grad()
    (q.sum() + 2 * k.square().sum() + 3 * v.sin().sum()).backward()
    return [q, k, v, *(p.grad for p in lora.trainable_parameters(model))]


@pytest.mark.parametrize("shared", [True, False], ids=["one input", "three inputs"])
def test_siblings_give_what_each_layer_would_whatever_they_are_given(shared):
    model, parent = adapter_of_three()
    inputs = [torch.randn(5, 8, requires_grad=True) for _ in range(3)]
    inputs = [inputs[0]] * 3 if shared else inputs
    wanted = outputs_and_gradients(model, parent, *inputs)
    wanted_inputs = [x.grad.clone() for x in inputs]
    for x in inputs:
        x.grad = None
    assert lora.speed_up(model) == 3
    found = outputs_and_gradients(model, parent, *inputs)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)
    for x, gradient in zip(inputs, wanted_inputs, strict=True):
        torch.testing.assert_close(x.grad, gradient, rtol=1e-4, atol=1e-3)


def test_siblings_with_one_input_are_one_node():
    model, parent = adapter_of_three()
    lora.speed_up(model)
    x = torch.randn(1, 5, 8)
    assert len({out.grad_fn.next_functions[0][0] for out in parent(x)}) == 1
    assert not torch.equal(parent.q_proj(x), parent.q_proj(x + 1))
    assert torch.equal(parent.q_proj(x), parent.q_proj(x))


@pytest.mark.parametrize("fails", [False, True])
def test_siblings_keep_nothing_when_their_parent_is_done_or_has_failed(fails):
    model, parent = adapter_of_three()
    lora.speed_up(model)
    parent.fails = fails
    given = torch.randn(1, 5, 8)
    alive = weakref.ref(given)
    with nullcontext() if not fails else pytest.raises(MemoryError):
        parent(given)
    del given
    gc.collect()
    assert alive() is None
