"""Trainings on the tiny model for these tests: inputs, contexts that are killed, weights."""

import random
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.tiny_model import build_tiny_dataset, build_tiny_model
from workers.context import LocalContext

ROWS = [
    {"question": f"How many of {i}?" * (1 + i % 3), "answer": f"SELECT {i} FROM orders"}
    for i in range(28)
]
HELD_OUT = [{**row, "split": "validation"} for row in ROWS[:6]]
EXACT = {
    "learning_rate": 0.001,
    "batch_size": 8,
    "epochs": 3,
    "quantization": "none",
    "precision": "fp32",
}


class Killed(BaseException):
    """Stands for SIGKILL where everything runs in one process: nothing catches it."""


def make_inputs(folder: Path) -> dict[str, Path]:
    dataset = build_tiny_dataset(
        folder / "dataset", ROWS + HELD_OUT, schema_text="orders(id, total)"
    )
    return {"model": build_tiny_model(folder / "model", layers=3), "dataset": dataset}


class Mortal(LocalContext):
    """Is killed right after the step `dies_after`."""

    dies_after: int | None = None

    def metric(self, step: int, **values: float) -> None:
        super().metric(step, **values)
        if step == self.dies_after and "loss" in values:
            raise Killed


def context(inputs, workdir: Path, params: dict[str, Any], **options: Any) -> Mortal:
    torch.manual_seed(random.randrange(2**31))  # each process has a random state of its own
    return Mortal({"model": "tiny", **params}, inputs, workdir, **options)


def weights(out: Path) -> dict[str, Tensor]:
    return load_file(out / "adapter" / "adapter_model.safetensors")


def largest_difference(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in theirs)


def same_but_for_rounding(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    """Within 1e-6 in all but one of 1,000 weights, and those within a twentieth of one step of
    `EXACT`: where a gradient is almost nothing, Adam makes much of what rounding leaves of it."""
    assert ours.keys() == theirs.keys()
    apart = torch.cat([(ours[name] - theirs[name]).abs().flatten() for name in theirs])
    return float(apart.quantile(0.999)) <= 1e-6 and float(apart.max()) <= 5e-5


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    """Equal to the last bit."""
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in theirs)
