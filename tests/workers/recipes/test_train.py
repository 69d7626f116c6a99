import json
import math
import shutil

import pytest
import torch
from accelerate import Accelerator
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from core.errors import JobFailure
from core.training.prompts import PromptTemplate
from tests.tiny_model import build_tiny_dataset, build_tiny_model
from workers.context import LocalContext, Stopped
from workers.ml.training import Training
from workers.recipes import train

ROWS = [{"question": f"How many of {i}?", "answer": f"SELECT {i}"} for i in range(20)]
HELD_OUT = [{**row, "split": "validation"} for row in ROWS[:6]]
FAST = {"learning_rate": 0.01, "batch_size": 8, "epochs": 2, "quantization": "none"}
EXACT = {**FAST, "precision": "fp32"}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    return {
        "model": build_tiny_model(folder / "model"),
        "dataset": build_tiny_dataset(
            folder / "dataset", ROWS + HELD_OUT, schema_text="orders(id, total)"
        ),
    }


def context(inputs, workdir, params, **options):
    return LocalContext({"model": "tiny", **params}, inputs, workdir, **options)


def weights(ctx):
    return load_file(ctx.out / "adapter" / "adapter_model.safetensors")


class Interrupted(LocalContext):
    """Is asked to stop once `after` steps are done."""

    after, reason = 4, "pause"

    def metric(self, step, **values):
        super().metric(step, **values)
        if step >= self.after:
            self.stop = self.reason


def test_the_defaults_train_an_8_bit_adapter_that_plain_peft_loads(inputs, tmp_path):
    ctx = context(inputs, tmp_path, {})
    result = train.run(ctx)

    assert result["quantized_layers"] == 14
    assert result["trainable_parameters"] > 0
    resolved = result["resolved"]
    assert "auto" not in json.dumps(resolved)
    assert (result["prompt"], resolved["prompt"]) == ("bare", "bare")
    assert resolved["lora"]["layers"] == 1  # of 2, on a CPU
    assert result["validation_loss"] < ctx.of_kind("metric")[0]["values"]["loss"]
    adapter = ctx.out / "adapter"
    assert PromptTemplate.load(adapter).style == "bare"
    card = json.loads((adapter / "card.json").read_text(encoding="utf-8"))
    assert card["base_model"] == "tiny" and card["versions"]["torch"]
    assert str(tmp_path) not in "".join(p.read_text() for p in adapter.glob("*.json"))

    base = AutoModelForCausalLM.from_pretrained(inputs["model"])
    ids = torch.arange(3, 20).unsqueeze(0)
    before = base(input_ids=ids).logits
    assert not torch.equal(PeftModel.from_pretrained(base, adapter)(input_ids=ids).logits, before)


def test_every_step_is_told(inputs, tmp_path):
    ctx = context(inputs, tmp_path, FAST)
    result = train.run(ctx)
    points = [m for m in ctx.of_kind("metric") if "loss" in m["values"]]
    assert [m["step"] for m in points] == list(range(1, result["steps"] + 1))
    assert points[0]["values"].keys() >= {"learning_rate", "gradient_norm", "memory_bytes"}
    validated = [m["step"] for m in ctx.of_kind("metric") if "validation_loss" in m["values"]]
    assert validated == [3, 6] and len(ctx.checkpoints) == 2
    progress = ctx.of_kind("progress")[-1]["progress"]
    assert (progress["step"], progress["total"], progress["epoch"]) == (6, 6, 2.0)
    assert progress["eta_seconds"] == 0 and progress["examples_per_second"] > 0


@pytest.mark.parametrize("dropout", [0.0, 0.1], ids=["shared prefix", "plain, dropout"])
def test_a_resumed_run_equals_an_undisturbed_one(inputs, tmp_path, dropout):
    params = {**EXACT, "lora": {"dropout": dropout}}
    whole = context(inputs, tmp_path / "whole", params)
    expected = train.run(whole)

    first = Interrupted({"model": "tiny", **params}, inputs, tmp_path / "first")
    with pytest.raises(Stopped):
        train.run(first)
    left = first.keep_checkpoint(tmp_path / "kept")
    shutil.rmtree(tmp_path / "first")
    torch.manual_seed(12345)  # another process has another random state
    second = context(inputs, tmp_path / "second", params, resume=left)
    result = train.run(second)

    steps = [m["step"] for m in second.of_kind("metric") if "loss" in m["values"]]
    assert steps == [5, 6]
    for name in ("steps", "best_step", "validation_loss"):
        assert result[name] == expected[name]
    ours, wanted = weights(second), weights(whole)
    assert all(torch.equal(ours[name], wanted[name]) for name in wanted)


def test_a_cancel_stops_without_a_checkpoint(inputs, tmp_path):
    ctx = Interrupted({"model": "tiny", **FAST}, inputs, tmp_path)
    ctx.after, ctx.reason = 1, "cancel"
    with pytest.raises(Stopped):
        train.run(ctx)
    assert ctx.checkpoints == []


def test_the_best_adapter_is_kept_when_validation_worsens(inputs, tmp_path):
    wild = {**EXACT, "learning_rate": 0.3, "epochs": 8, "schedule": "constant"}
    ctx = context(inputs, tmp_path, {**wild, "early_stopping": {"patience": 2}})
    result = train.run(ctx)
    losses = {
        m["step"]: m["values"]["validation_loss"]
        for m in ctx.of_kind("metric")
        if "validation_loss" in m["values"]
    }
    assert result["best_step"] == min(losses, key=losses.get)
    assert result["validation_loss"] == min(losses.values())
    if result["steps"] < 24:
        assert result["best_step"] == result["steps"] - 2 * 3
    best = next(p for p in ctx.checkpoints if p.name.endswith(str(result["best_step"])))
    saved = load_file(best / "adapter" / "adapter_model.safetensors")
    assert all(torch.equal(saved[name], tensor) for name, tensor in weights(ctx).items())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_fails_the_training_before_it_is_saved(
    inputs, tmp_path, monkeypatch, bad
):
    once = {**EXACT, "epochs": 1}
    with monkeypatch.context() as patched:
        patched.setattr(Accelerator, "clip_grad_norm_", lambda *_: torch.tensor(bad))
        ctx = context(inputs, tmp_path / "gradient", once)
        with pytest.raises(JobFailure, match="norm of the gradient is .* at step 1") as failure:
            train.run(ctx)
    assert failure.value.klass == "data" and ctx.checkpoints == []
    with monkeypatch.context() as patched:
        patched.setattr(Training, "_judge", lambda self, share: (bad, 0, 1))
        ctx = context(inputs, tmp_path / "validation", once)
        with pytest.raises(JobFailure, match="validation loss is"):
            train.run(ctx)
    assert ctx.checkpoints == []


def test_the_classic_preset_trains(inputs, tmp_path):
    ctx = context(inputs, tmp_path, {"preset": "classic", "epochs": 1, "quantization": "none"})
    result = train.run(ctx)
    assert result["resolved"]["lora"]["dropout"] == 0.05
    assert result["resolved"]["micro_batch"] == 4 and result["prompt"] == "classic"


def test_smaller_groups_give_the_same_adapter(inputs, tmp_path):
    found = []
    for micro in (8, 3):
        ctx = context(inputs, tmp_path / str(micro), {**EXACT, "epochs": 1, "micro_batch": micro})
        train.run(ctx)
        found.append(weights(ctx))
    for name, tensor in found[0].items():
        torch.testing.assert_close(found[1][name], tensor, rtol=1e-3, atol=1e-5)


def test_a_row_that_is_too_long_is_named_or_cut(inputs, tmp_path):
    with pytest.raises(JobFailure) as refused:
        train.run(context(inputs, tmp_path / "a", {**FAST, "prompt": "schema", "max_length": 42}))
    assert refused.value.klass == "data" and "line 1" in refused.value.message
    cut = {**FAST, "prompt": "schema", "epochs": 1, "max_length": 42, "long_rows": "truncate"}
    assert train.run(context(inputs, tmp_path / "b", cut))["steps"] == 3


def test_a_row_longer_than_the_model_looks_back_is_named_before_the_first_step(inputs, tmp_path):
    config = AutoConfig.for_model(
        "mistral",
        **{"vocab_size": 400, "hidden_size": 64, "intermediate_size": 96, "sliding_window": 40},
        **{"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2},
    )
    folder = shutil.copytree(inputs["model"], tmp_path / "model")
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    ctx = context(inputs | {"model": folder}, tmp_path / "job", {**FAST, "prompt": "schema"})
    with pytest.raises(JobFailure, match="the 40 tokens that the base model takes: line 1") as no:
        train.run(ctx)
    assert no.value.klass == "data" and not ctx.of_kind("metric")


@pytest.mark.parametrize(
    "params",
    [{"prompt": "poem"}, {"quantization": "3bit"}, {"precision": "fp16"}, {"schedule": "zigzag"}],
)
def test_what_can_not_be_done_is_refused(inputs, tmp_path, params):
    with pytest.raises(JobFailure) as refused:
        train.run(context(inputs, tmp_path, {**FAST, **params}))
    assert refused.value.klass == "config"
