"""A merged model is the adapter on its base, or it is not saved."""

import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model

from core.errors import JobFailure
from core.training.prompts import PromptTemplate
from tests.tiny_model import build_tiny_model
from workers.ml import merging
from workers.ml.loading import load_adapter, load_base


@pytest.fixture(scope="module")
def tiny_dir(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def adapter_dir(tiny_dir, tmp_path_factory):
    torch.manual_seed(5)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
    directory = tmp_path_factory.mktemp("adapter")
    get_peft_model(load_base(tiny_dir, precision="fp32").model, config).save_pretrained(directory)
    PromptTemplate("schema", "customers(id, name)", "sqlite").save(directory)
    return directory


def logits(loaded, ids):
    with torch.inference_mode():
        return loaded.model(torch.tensor([ids])).logits.float()


def test_a_merged_model_alone_says_what_base_and_adapter_say(tiny_dir, adapter_dir, tmp_path):
    parity = merging.merge(tiny_dir, adapter_dir, tmp_path)
    assert parity.equal_tokens and parity.token_agreement == 1
    assert 0 < parity.max_logit_difference <= 1e-3
    assert parity.bf16_max_logit_difference is None
    live = load_adapter(load_base(tiny_dir, precision="fp32"), adapter_dir)
    merged = load_base(tmp_path, precision="fp32")
    ids = list(range(5, 60))
    assert (logits(live, ids) - logits(merged, ids)).abs().max() <= 1e-3
    assert not any("lora" in name for name, _ in merged.model.named_parameters())
    assert PromptTemplate.load(tmp_path) == PromptTemplate.load(adapter_dir)


def test_a_bf16_copy_says_how_far_it_is(tiny_dir, adapter_dir, tmp_path):
    parity = merging.merge(tiny_dir, adapter_dir, tmp_path, precision="bf16", prompts=["客户?"])
    assert parity.prompts == 1
    assert parity.max_logit_difference <= 1e-3 < parity.bf16_max_logit_difference
    assert 0 <= parity.bf16_token_agreement <= 1
    weights = load_base(tmp_path, precision="bf16").model
    assert {p.dtype for p in weights.parameters()} == {torch.bfloat16}


def test_without_parity_nothing_is_saved(tiny_dir, adapter_dir, tmp_path, monkeypatch):
    def wrong(self, *args, **kwargs):
        model = self.unload()
        with torch.no_grad():
            model.model.norm.weight.mul_(1.01)
        return model

    monkeypatch.setattr("peft.PeftModel.merge_and_unload", wrong, raising=False)
    with pytest.raises(JobFailure, match="largest logit difference") as failure:
        merging.merge(tiny_dir, adapter_dir, tmp_path)
    assert failure.value.klass == "crash"
    assert failure.value.details["parity"]["max_logit_difference"] > 1e-3
    assert list(tmp_path.iterdir()) == []


def test_a_merge_precision_that_is_none_is_refused(tiny_dir, adapter_dir, tmp_path):
    with pytest.raises(JobFailure, match="fp32, bf16"):
        merging.merge(tiny_dir, adapter_dir, tmp_path, precision="8bit")


def test_an_adapter_without_a_prompt_is_merged_too(tiny_dir, adapter_dir, tmp_path):
    bare = shutil.copytree(adapter_dir, tmp_path / "adapter")
    (bare / "prompt.json").unlink()
    target = tmp_path / "model"
    target.mkdir()
    assert merging.merge(tiny_dir, bare, target).equal_tokens
    assert not (target / "prompt.json").exists()


def test_logits_that_are_no_numbers_are_no_parity():
    same = [merging.Answer([1, 1], torch.full((2, 3), float("nan")))]
    with pytest.raises(JobFailure, match="is not the adapter on its base"):
        merging.require_same(merging.compare(same, same))
