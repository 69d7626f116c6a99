"""A training that starts from an adapter: its weights, its shape, a fresh optimizer."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from core.errors import JobFailure
from tests.workers.recipes.training import EXACT, Killed, context, make_inputs, same, weights
from workers.recipes import train

SHAPE = {"r": 4, "alpha": 8, "layers": 2, "target_modules": ["q_proj", "v_proj"]}
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def first(inputs, tmp_path_factory):
    """An adapter of a shape that is not the default one."""
    ctx = context(inputs, tmp_path_factory.mktemp("first"), {**EXACT, "epochs": 1, "lora": SHAPE})
    train.run(ctx)
    return ctx.out / "adapter"


def going_on(inputs, adapter, workdir, **params):
    return context(inputs | {"continue_from": adapter}, workdir, {**EXACT, "epochs": 1, **params})


def test_it_starts_with_the_weights_and_takes_the_shape_that_nobody_said(inputs, first, tmp_path):
    ctx = going_on(inputs, first, tmp_path, learning_rate=1e-12)
    result = train.run(ctx)
    lora = result["resolved"]["lora"]
    assert (lora["r"], lora["alpha"], lora["layers"]) == (4, 8, 2)
    assert lora["target_modules"] == ("q_proj", "v_proj")
    before, after = load_file(first / WEIGHTS), weights(ctx.out)
    assert before.keys() == after.keys()
    assert max(float((before[name] - after[name]).abs().max()) for name in before) < 1e-9
    assert ctx.of_kind("progress")[-1]["progress"]["step"] == result["steps"] == 4


def test_it_learns_on_from_there(inputs, first, tmp_path):
    fresh = context(inputs, tmp_path / "fresh", {**EXACT, "epochs": 1, "lora": SHAPE})
    train.run(fresh)
    ctx = going_on(inputs, first, tmp_path / "on")
    train.run(ctx)
    begun = [m["values"]["loss"] for m in ctx.of_kind("metric") if "loss" in m["values"]]
    anew = [m["values"]["loss"] for m in fresh.of_kind("metric") if "loss" in m["values"]]
    assert begun[0] < anew[0]
    assert not same(weights(ctx.out), load_file(first / WEIGHTS))


@pytest.mark.parametrize("named", [True, False], ids=["another attempt", "another job"])
def test_a_run_that_was_killed_goes_on_from_its_checkpoint_and_in_its_shape(
    inputs, first, tmp_path, named
):
    """A job that goes on from the checkpoint names that, and the adapter no more."""
    whole = going_on(inputs, first, tmp_path / "whole", save_steps=2)
    train.run(whole)
    killed = going_on(inputs, first, tmp_path / "killed", save_steps=2)
    killed.dies_after = 3
    with pytest.raises(Killed):
        train.run(killed)
    left = killed.keep_checkpoint(tmp_path / "kept")
    given = inputs | ({"continue_from": first} if named else {})
    on = context(given, tmp_path / "on", {**EXACT, "epochs": 1, "save_steps": 2}, resume=left)
    lora = train.run(on)["resolved"]["lora"]
    assert (lora["r"], lora["alpha"]) == (4, 8)
    assert same(weights(on.out), weights(whole.out))


@pytest.mark.parametrize(
    ("lora", "named"),
    [
        ({"r": 16}, "lora.r of it is 4, this training says 16"),
        ({"alpha": 32}, "lora.alpha of it is 8"),
        ({"target_modules": "all-linear"}, "lora.target_modules"),
        ({"layers": "all"}, "lora.layers of it is 2, this training says all"),
        ({"use_rslora": True}, "lora.use_rslora of it is False, this training says True"),
    ],
)
def test_a_shape_that_differs_is_refused_by_its_name(inputs, first, tmp_path, lora, named):
    with pytest.raises(JobFailure) as refused:
        train.run(going_on(inputs, first, tmp_path, lora=lora))
    assert refused.value.klass == "config" and named in refused.value.message


def test_what_is_said_and_agrees_is_taken(inputs, first, tmp_path):
    lora = {"r": 4, "target_modules": ["v_proj", "q_proj"], "layers": "auto", "dropout": 0.1}
    resolved = train.run(going_on(inputs, first, tmp_path, lora=lora))["resolved"]
    assert resolved["lora"]["dropout"] == 0.1 and resolved["lora"]["layers"] == 2


def broken(first, folder, **config):
    copy = shutil.copytree(first, folder)
    file = copy / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    return copy


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"layers_to_transform": [0, 1]}, "last layers"),
        ({"r": 8}, "of another shape"),
        ({"target_modules": ".*q_proj", "layers_to_transform": None}, "pattern"),
        ({"target_modules": ".*q_proj"}, "adapter_config.json is not to be used"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(inputs, first, tmp_path, config, named):
    with pytest.raises(JobFailure) as refused:
        train.run(going_on(inputs, broken(first, tmp_path / "bad", **config), tmp_path / "work"))
    assert refused.value.klass == "config" and named in refused.value.message


def test_weights_that_are_missing_are_refused(inputs, first, tmp_path):
    copy = shutil.copytree(first, tmp_path / "bad")
    tensors = load_file(copy / WEIGHTS)
    del tensors[next(iter(tensors))]
    save_file(tensors, copy / WEIGHTS)
    with pytest.raises(JobFailure, match="1 weights are missing") as refused:
        train.run(going_on(inputs, copy, tmp_path / "work"))
    assert refused.value.klass == "config"
