"""Runners whose address space is limited: errors of real allocators, not those of a failpoint."""

import json
import random
import resource
import sqlite3
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.tiny_model import build_tiny_dataset, build_tiny_model
from workers.context import Spec
from workers.spare import RunnerProcess, start_runner

MB = 1024**2
ASKED = {"quantization": "none", "precision": "fp32", "max_new_tokens": 8}
TRAINED = {
    "model": "tiny",
    "quantization": "none",
    "precision": "fp32",
    "prompt": "bare",
    "epochs": 1,
    "batch_size": 32,
    "micro_batch": 32,
    "lora": {"layers": "all"},
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("inputs")
    chance = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    rows = [
        {"question": "".join(chance.choices(letters, k=1000)), "answer": f"SELECT {n}"}
        for n in range(64)
    ]
    build_tiny_dataset(folder / "dataset", rows + [row | {"split": "test"} for row in rows[:2]])
    lines = [{"id": n, "question": "How many?", "sql": "SELECT 1"} for n in range(5000)]
    file = folder / "lines.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    sqlite3.connect(folder / "db.sqlite").close()
    return {
        "model": str(build_tiny_model(folder / "model")),
        "dataset": str(folder / "dataset"),
        "adapter": str(folder / "adapter"),
        "questions": str(file),
        "file": str(file),
    }


def size_of(runner: RunnerProcess) -> int:
    """Bytes of a runner's address space, once its imports are done."""
    sizes = [0, -1]
    while sizes[-1] != sizes[-2] or sizes[-1] < 1000 * MB:
        time.sleep(1)
        lines = Path(f"/proc/{runner.pid}/status").read_text().splitlines()
        sizes.append(next(int(line.split()[1]) * 1024 for line in lines if "VmSize" in line))
    return sizes[-1]


def limit(runner: RunnerProcess, more: int) -> None:
    """From now on the runner gets `more` bytes."""
    whole = size_of(runner) + more
    resource.prlimit(runner.pid, resource.RLIMIT_AS, (whole, whole))


def order(runner: RunnerProcess, inputs, workdir: Path, type: str, params: dict[str, Any]) -> None:
    workdir.mkdir()
    spec = Spec("job_1", type, params, inputs, str(workdir), threads=1)
    runner.channel.send(kind="job", spec=asdict(spec), fence_seconds=600)


def heard(runner: RunnerProcess) -> list[dict[str, Any]]:
    """All that a runner says, up to its last word."""
    said: list[dict[str, Any]] = []
    while not said or said[-1]["kind"] not in ("result", "failed", "stopped"):
        message = runner.channel.receive(timeout=180)
        assert message is not None, said
        said.append(message)
    return said


@pytest.fixture
def runner(fork, type):
    """Of the queue on which such a job runs: what it imports is imported."""
    started = start_runner("cpu") if type == "prepare" else fork()
    yield started
    started.kill()


@pytest.mark.parametrize(
    ("type", "params"),
    [
        ("train", TRAINED),
        ("evaluate", ASKED | {"split": "test"}),
        ("generate", ASKED),
        ("merge", {}),
        ("prepare", {"filename": "lines.jsonl"}),
    ],
)
def test_a_recipe_that_gets_no_memory_ends_with_class_oom_host(
    runner, inputs, tmp_path, type, params
) -> None:
    limit(runner, 4 * MB)
    order(runner, inputs, tmp_path / "work", type, params)
    failure = heard(runner)[-1]["failure"]
    assert failure["klass"] == "oom_host" and "more memory" in failure["message"]
    assert runner.process.wait(timeout=30) == 0


def test_a_training_that_gets_too_little_heals_and_learns_the_same(fork, inputs, tmp_path) -> None:
    weights = {}
    # Far from both ends: here a group of 32 wants more than 500 MB, and 200 are enough to heal.
    for name, more in (("whole", None), ("limited", 350 * MB)):
        runner = fork()
        try:
            if more is not None:
                limit(runner, more)
            order(runner, inputs, tmp_path / name, "train", TRAINED)
            said = heard(runner)
            assert said[-1]["kind"] == "result", said[-1]
            micro = said[-1]["result"]["resolved"]["micro_batch"]
            lessons = [one["lesson"] for one in said if one["kind"] == "memory"]
            assert (micro == 32) == (more is None), lessons
            assert any(lesson["fitted"] is False for lesson in lessons) == (more is not None)
            weights[name] = load_file(
                tmp_path / name / "out" / "adapter" / "adapter_model.safetensors"
            )
        finally:
            runner.kill()
    for name, tensor in weights["whole"].items():
        assert float((weights["limited"][name] - tensor).abs().max()) <= 1e-5
