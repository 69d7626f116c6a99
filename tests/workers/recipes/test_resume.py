"""A training that is killed again and again ends with the very weights of an undisturbed one."""

import json
import random
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.workers.recipes.training import EXACT, Killed, context, make_inputs, same, weights
from workers.context import Spec
from workers.recipes import train
from workers.spare import RunnerProcess

FIGURES = ("steps", "epochs", "best_step", "validation_loss", "train_loss")
SETTINGS = {
    "fp32, lower layers kept": {},
    "fp32, all layers, dropout": {"lora": {"layers": "all", "dropout": 0.1}},
    "8 bit, lower layers kept": {"quantization": "8bit", "precision": "auto"},
    "stops early": {"learning_rate": 0.3, "epochs": 8, "early_stopping": {"patience": 2}},
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_run_killed_four_times_ends_with_the_same_weights(inputs, tmp_path, settings):
    params = {**EXACT, "save_steps": 3, **settings}
    whole = context(inputs, tmp_path / "whole", params)
    expected = train.run(whole)
    last = expected["steps"]
    chance = random.Random(7)
    steps = sorted(chance.sample(range(2, last + 1), 4))

    resume = None
    for number, step in enumerate(steps):
        attempt = context(inputs, tmp_path / "killed", params, resume=resume)
        attempt.dies_after = step
        with pytest.raises(Killed):
            train.run(attempt)
        if attempt.checkpoints:
            resume = attempt.keep_checkpoint(tmp_path / f"kept-{number}")
        shutil.rmtree(tmp_path / "killed")
    final = context(inputs, tmp_path / "final", params, resume=resume)
    result = train.run(final)

    assert resume is not None
    kept = "lora" not in settings  # else all layers are adapted
    assert (expected["resolved"]["lower_cache"] > 0) == kept
    assert same(weights(final.out), weights(whole.out))
    assert [result[name] for name in FIGURES] == [expected[name] for name in FIGURES]
    assert result["resolved"] == expected["resolved"]


def test_a_validation_depends_on_steps_and_not_on_the_clock(inputs, tmp_path):
    """A checkpoint that the clock asks for changes nothing of what is learned."""
    whole = context(inputs, tmp_path / "whole", EXACT)
    expected = train.run(whole)
    often = context(inputs, tmp_path / "often", {**EXACT, "save_minutes": 1e-9})
    result = train.run(often)
    assert len(often.checkpoints) > len(whole.checkpoints)
    assert [result[name] for name in FIGURES] == [expected[name] for name in FIGURES]
    assert same(weights(often.out), weights(whole.out))


def test_a_run_keeps_its_precision_on_a_worker_where_auto_gives_another(inputs, tmp_path):
    begun = {**EXACT, "save_steps": 2, "precision": "bf16"}
    whole = context(inputs, tmp_path / "whole", begun)
    expected = train.run(whole)
    kept = checkpoint_of(inputs, tmp_path, begun)
    final = context(inputs, tmp_path / "final", begun | {"precision": "fp32"}, resume=kept)
    assert train.run(final)["resolved"] == expected["resolved"]
    assert same(weights(final.out), weights(whole.out))


def test_a_run_in_fp16_goes_on_in_fp32_on_a_cpu_and_says_so(inputs, tmp_path):
    params = {**EXACT, "save_steps": 2, "precision": "auto"}
    kept = checkpoint_of(inputs, tmp_path, params)
    position = kept / "position.json"
    told = json.loads(position.read_text())
    told["resolved"]["precision"] = "fp16"
    position.write_text(json.dumps(told))
    final = context(inputs, tmp_path / "final", params, resume=kept)
    assert train.run(final)["resolved"]["precision"] == "fp32"
    assert any("goes on in fp32" in said["event"]["message"] for said in final.of_kind("event"))


def checkpoint_of(inputs, folder: Path, params) -> Path:
    """The checkpoint of a run that was killed after its third step."""
    attempt = context(inputs, folder / "killed", params)
    attempt.dies_after = 3
    with pytest.raises(Killed):
        train.run(attempt)
    return attempt.keep_checkpoint(folder / "kept")


def in_a_runner(
    runner: RunnerProcess, inputs, workdir: Path, params, *, resume=None, kill_after=None
) -> Path | None:
    """One attempt in a process of its own, killed -9 once it has told of step `kill_after`;
    returns its newest checkpoint, kept."""
    spec = Spec(
        job_id="job_1",
        type="train",
        params={"model": "tiny", **params},
        inputs={name: str(path) for name, path in inputs.items()},
        workdir=str(workdir),
        threads=1,
        resume=str(resume) if resume else None,
    )
    newest = resume
    workdir.mkdir()
    try:
        runner.channel.send(kind="job", spec=asdict(spec), fence_seconds=600)
        while True:
            message = runner.channel.receive(timeout=180)
            assert message is not None, (workdir / "runner.log").read_text()
            assert message["kind"] not in ("failed", "stopped"), message
            if message["kind"] == "checkpoint":
                newest = Path(message["path"])
            if message["kind"] == "result":
                assert kill_after is None
                return newest
            if message["kind"] == "metric" and message["step"] == kill_after:
                return newest
    finally:
        runner.kill()


@pytest.mark.parametrize(
    "quantization",
    ["8bit", *(pytest.param(name, marks=pytest.mark.slow) for name in ("none", "4bit"))],
)
def test_runners_that_are_killed_leave_what_the_next_needs(fork, inputs, tmp_path, quantization):
    """Real processes, SIGKILL, and the weights of one that nobody disturbed."""
    params = {**EXACT, "quantization": quantization, "save_steps": 2, "epochs": 4}
    in_a_runner(fork(), inputs, tmp_path / "whole", params)
    resume = None
    for number, step in enumerate((3, 7, 11)):
        workdir = tmp_path / f"killed-{number}"
        resume = in_a_runner(fork(), inputs, workdir, params, resume=resume, kill_after=step)
    in_a_runner(fork(), inputs, tmp_path / "final", params, resume=resume)
    assert same(weights(tmp_path / "final/out"), weights(tmp_path / "whole/out"))
