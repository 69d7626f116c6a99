import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from core.errors import JobFailure
from tests.tiny_model import build_tiny_model
from workers.ml import lora
from workers.ml.hyperparameters import LoraSettings
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


def test_plain_peft_loads_what_was_saved(directory, tmp_path):
    model = attach(directory, precision="fp32", layers=1)
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
