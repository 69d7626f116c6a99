"""A merged model is one that the platform itself would accept, with its parity on record."""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model

from core.basemodels.safety import check_model_directory
from core.basemodels.store import read_manifest
from core.errors import JobFailure
from core.training.prompts import PromptTemplate
from tests.tiny_model import build_tiny_model
from workers.context import LocalContext, Stopped
from workers.ml import merging
from workers.ml.loading import load_base
from workers.recipes.merge import run


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    model = build_tiny_model(tmp_path_factory.mktemp("base") / "tiny")
    torch.manual_seed(5)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
    adapter = tmp_path_factory.mktemp("adapter")
    get_peft_model(load_base(model, precision="fp32").model, config).save_pretrained(adapter)
    PromptTemplate("bare", None, "sqlite").save(adapter)
    return {"model": model, "adapter": adapter}


def test_the_merged_model_is_acceptable_and_described(inputs, tmp_path):
    params = {"precision": "fp32", "sample_prompts": ["How many?", "多少?"], "name": "shop"}
    ctx = LocalContext(params, inputs, tmp_path)
    result = run(ctx)
    model = ctx.out / "model"
    check_model_directory(model)
    manifest = read_manifest(model)
    assert manifest["name"] == "shop"
    assert "tiny" in manifest["source"]
    assert manifest["parameters"] == result["parameters"] > 0
    assert result["parity"]["max_logit_difference"] <= 1e-3
    assert result["parity"]["equal_tokens"] is True
    assert result["parity"]["prompts"] == 2
    assert PromptTemplate.load(model).style == "bare"
    assert str(inputs["model"]) not in (model / "config.json").read_text(encoding="utf-8")
    json.dumps(result)
    assert load_base(model, precision="fp32").quantized_layers == 0


def test_bf16_is_saved_as_bf16_and_half_as_large(inputs, tmp_path):
    full = run(LocalContext({"precision": "fp32"}, inputs, tmp_path / "full"))
    half = run(LocalContext({"precision": "bf16"}, inputs, tmp_path / "half"))
    assert half["bytes"] < 0.7 * full["bytes"]
    assert half["parity"]["bf16_max_logit_difference"] > 0
    assert full["parity"]["bf16_max_logit_difference"] is None


def test_no_parity_no_model(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(merging, "MAX_LOGIT_DIFFERENCE", 0.0)
    ctx = LocalContext({"precision": "fp32"}, inputs, tmp_path)
    with pytest.raises(JobFailure) as failure:
        run(ctx)
    assert failure.value.klass == "crash"
    assert not list((ctx.out / "model").iterdir())


@pytest.mark.parametrize("heard", [1, 2, 5, 9])
def test_a_wish_to_stop_is_heard_between_the_parts_of_the_work(inputs, tmp_path, heard):
    ctx = LocalContext({"precision": "fp32"}, inputs, tmp_path)
    check, calls = ctx.check, []

    def count():
        calls.append(1)
        ctx.stop = "pause" if len(calls) == heard else None
        check()

    ctx.check = count
    with pytest.raises(Stopped, match="pause"):
        run(ctx)
    assert not list((ctx.out / "model").iterdir())
