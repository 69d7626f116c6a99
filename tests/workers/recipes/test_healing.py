"""A training whose memory runs out goes on with less at a time, and learns the same."""

import json
import shutil

import pytest
import torch

from core import failpoints
from core.errors import JobFailure
from tests.workers.recipes.training import (
    EXACT,
    Killed,
    context,
    largest_difference,
    make_inputs,
    same,
    same_but_for_rounding,
    weights,
)
from workers.ml.lower import LowerStates
from workers.ml.module import TrainingModule
from workers.recipes import train

FULL = torch.OutOfMemoryError("CUDA out of memory")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def arm(tmp_path, monkeypatch):
    folder = tmp_path / "failpoints"
    folder.mkdir()
    monkeypatch.setattr(failpoints, "_folder", str(folder))
    return lambda name, action: (folder / name).write_text(action)


@pytest.fixture
def full(monkeypatch):
    """Memory is full whenever `when(module, group)` says so."""
    forward = TrainingModule.forward

    def set_when(when):
        def checked(self, group):
            if when(self, group):
                raise FULL
            return forward(self, group)

        monkeypatch.setattr(TrainingModule, "forward", checked)

    return set_when


def warnings(ctx):
    events = [message["event"] for message in ctx.of_kind("event")]
    return [event["message"] for event in events if event["level"] == "warning"]


@pytest.mark.parametrize("dropout", [0.0, 0.1], ids=["shared prefix", "dropout"])
def test_a_run_healed_in_a_step_goes_on_as_with_smaller_groups_from_that_step(
    inputs, tmp_path, arm, dropout
):
    params = {**EXACT, "micro_batch": 8, "lora": {"dropout": dropout}, "save_steps": 4}
    arm("train.step@5", "oom")
    healed = context(inputs, tmp_path / "healed", params)
    result = train.run(healed)
    assert result["resolved"]["micro_batch"] == 4
    assert len(warnings(healed)) == 1
    assert "step 5 with micro_batch 8" in warnings(healed)[0]

    undisturbed = context(inputs, tmp_path / "undisturbed", {**params})
    undisturbed.dies_after = 5
    with pytest.raises(Killed):
        train.run(undisturbed)
    left = undisturbed.keep_checkpoint(tmp_path / "kept")
    assert left.name and "00000004" in str(undisturbed.checkpoints[-1])
    position = json.loads((left / "position.json").read_text())
    position["resolved"]["micro_batch"] = 4
    (left / "position.json").write_text(json.dumps(position))
    smaller = context(inputs, tmp_path / "smaller", params, resume=left)
    expected = train.run(smaller)
    assert same(weights(healed.out), weights(smaller.out))
    for name in ("steps", "validation_loss", "train_loss", "best_step"):
        assert result[name] == expected[name]


def test_a_healed_run_is_within_a_millionth_of_an_undisturbed_one(inputs, tmp_path, arm):
    params = {**EXACT, "micro_batch": 8}
    whole = context(inputs, tmp_path / "whole", params)
    expected = train.run(whole)
    arm("train.step@5", "oom")
    healed = context(inputs, tmp_path / "healed", params)
    result = train.run(healed)
    assert largest_difference(weights(healed.out), weights(whole.out)) <= 1e-6
    assert result["validation_loss"] == pytest.approx(expected["validation_loss"], abs=1e-6)


def test_gradients_of_the_part_that_was_done_are_dropped(inputs, tmp_path, full):
    params = {**EXACT, "micro_batch": 4, "epochs": 1}
    whole = context(inputs, tmp_path / "whole", params)
    train.run(whole)
    calls = []

    def second_group_of_a_step(module, group):
        calls.append(group)
        return module.training and len(calls) == 4

    full(second_group_of_a_step)
    healed = context(inputs, tmp_path / "healed", params)
    assert train.run(healed)["resolved"]["micro_batch"] == 2
    assert same_but_for_rounding(weights(healed.out), weights(whole.out))


def test_at_one_example_gradient_checkpointing_is_the_last_step(inputs, tmp_path, full):
    params = {**EXACT, "micro_batch": 8, "epochs": 1}
    whole = context(inputs, tmp_path / "whole", params)
    train.run(whole)
    full(lambda module, group: module.training and not module.checkpointed)
    healed = context(inputs, tmp_path / "healed", params)
    resolved = train.run(healed)["resolved"]
    assert (resolved["micro_batch"], resolved["gradient_checkpointing"]) == (1, True)
    assert len(warnings(healed)) == 4
    assert same_but_for_rounding(weights(healed.out), weights(whole.out))


def test_what_no_thrift_heals_is_a_failure_that_says_what_to_do(inputs, tmp_path, full):
    full(lambda module, group: module.training)
    ctx = context(inputs, tmp_path, {**EXACT, "micro_batch": 2})
    with pytest.raises(JobFailure, match="max_length") as failure:
        train.run(ctx)
    assert failure.value.klass == "oom_gpu"
    assert "step 1" in failure.value.message and "gradient checkpointing" in failure.value.message
    assert "lower layers" in warnings(ctx)[-1]  # their kept states were given up before


@pytest.mark.parametrize(
    ("error", "klass"),
    [
        (MemoryError(), "oom_host"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "oom_host"),
        (torch.OutOfMemoryError("CUDA"), "oom_gpu"),
    ],
)
def test_every_kind_of_full_memory_heals_and_has_its_class(
    inputs, tmp_path, monkeypatch, error, klass
):
    forward, calls = TrainingModule.forward, []

    def full_at_first(self, group):
        calls.append(group)
        if len(calls) == 1 or len(calls) > 4:
            raise error
        return forward(self, group)

    monkeypatch.setattr(TrainingModule, "forward", full_at_first)
    ctx = context(inputs, tmp_path, {**EXACT, "micro_batch": 8})
    with pytest.raises(JobFailure) as failure:
        train.run(ctx)
    assert failure.value.klass == klass
    assert [m for m in ctx.of_kind("metric") if "loss" in m["values"]]  # the first time it healed


def test_another_error_is_not_taken_for_full_memory(inputs, tmp_path, monkeypatch):
    def broken(self, group):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(TrainingModule, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        train.run(context(inputs, tmp_path, EXACT))


def test_a_validation_heals_and_gives_the_same_loss(inputs, tmp_path, full):
    params = {**EXACT, "micro_batch": 8, "epochs": 1}
    expected = train.run(context(inputs, tmp_path / "whole", params))
    full(lambda module, group: not module.training and len(group.examples) > 2)
    healed = context(inputs, tmp_path / "healed", params)
    result = train.run(healed)
    assert result["resolved"]["micro_batch"] == 1  # 6 held-out examples at once, 3, 1
    assert result["validation_loss"] == pytest.approx(expected["validation_loss"], abs=1e-6)


def test_lower_layers_that_can_not_be_kept_run_in_every_step(inputs, tmp_path, monkeypatch):
    params = {**EXACT, "micro_batch": 8, "epochs": 1}
    whole = context(inputs, tmp_path / "whole", params)
    assert train.run(whole)["resolved"]["lower_cache"] == 8
    fill, filled = LowerStates.fill, []

    def full_later(self, group):
        filled.append(group)
        if len(filled) == 2:
            raise MemoryError
        fill(self, group)

    monkeypatch.setattr(LowerStates, "fill", full_later)
    healed = context(inputs, tmp_path / "healed", params)
    resolved = train.run(healed)["resolved"]
    assert (resolved["lower_cache"], resolved["micro_batch"]) == (0, 8)
    assert "no memory to keep" in warnings(healed)[0]
    assert same_but_for_rounding(weights(healed.out), weights(whole.out))


def test_a_resumed_run_keeps_what_it_came_to(inputs, tmp_path, arm):
    params = {**EXACT, "micro_batch": 8, "save_steps": 4}
    arm("train.step@3", "oom")
    whole = context(inputs, tmp_path / "whole", params)
    train.run(whole)
    arm("train.step@3", "oom")
    first = context(inputs, tmp_path / "first", params)
    first.dies_after = 6
    with pytest.raises(Killed):
        train.run(first)
    second = context(
        inputs, tmp_path / "second", params, resume=first.keep_checkpoint(tmp_path / "kept")
    )
    assert train.run(second)["resolved"]["micro_batch"] == 4
    assert same(weights(second.out), weights(whole.out))


def test_a_training_tells_what_its_groups_take(inputs, tmp_path, arm):
    arm("train.step@2", "oom")
    ctx = context(inputs, tmp_path, {**EXACT, "micro_batch": 8, "epochs": 1})
    train.run(ctx)
    told = [message["lesson"] for message in ctx.of_kind("memory")]
    assert [lesson["fitted"] for lesson in told] == [None, False, None, True]
    assert told[0]["need_bytes"] == told[1]["need_bytes"] > told[2]["need_bytes"]
    assert told[2]["need_bytes"] == told[3]["need_bytes"] > 0
    assert told[0]["tokens"] > told[3]["tokens"] > 0 and told[3]["labels"] > 0
    assert told[3]["peak_bytes"] >= 0


@pytest.mark.parametrize("micro_batch", ["auto", 8], ids=["auto", "as asked for"])
def test_a_training_begins_below_what_has_been_too_much(inputs, tmp_path, micro_batch):
    params = {**EXACT, "micro_batch": micro_batch, "epochs": 1}
    first = context(inputs, tmp_path / "first", params)
    assert train.run(first)["resolved"]["micro_batch"] == 8
    too_much = first.of_kind("memory")[0]["lesson"]["need_bytes"]
    second = context(inputs, tmp_path / "second", {**params, "memory_ceiling": too_much})
    assert train.run(second)["resolved"]["micro_batch"] == 4


def test_a_resumed_training_too(inputs, tmp_path):
    params = {**EXACT, "micro_batch": 8, "save_steps": 2}
    first = context(inputs, tmp_path / "first", params)
    first.dies_after = 3
    with pytest.raises(Killed):
        train.run(first)
    left = first.keep_checkpoint(tmp_path / "kept")
    shutil.rmtree(tmp_path / "first")
    ceiling = first.of_kind("memory")[0]["lesson"]["need_bytes"]
    second = context(
        inputs, tmp_path / "second", {**params, "memory_ceiling": ceiling}, resume=left
    )
    assert train.run(second)["resolved"]["micro_batch"] == 4
    assert "too much for such a device" in warnings(second)[0]
