"""A training's state on disk: all that the same run needs to go on. Knows no job and no schedule.

`adapter/` PEFT's files, to which the caller may add · `best/` the best adapter so far · `state.pt`
optimizer, schedule, scaler, random state · `position.json` how far the run is. Whoever calls
stages, hashes and renames.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

WEIGHTS = "adapter_model.safetensors"


@dataclass
class Position:
    """How far a run is. The data position follows from `step`: the order of every epoch is drawn
    from the seed, so `epoch` and `batch` (batches of it that are done) are written for readers.
    `seconds` counts training steps alone, over all attempts; `loss_sum` is that of the epoch's
    `loss_steps` so far."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best_step: int | None = None
    best_loss: float | None = None
    without_gain: int = 0
    examples: int = 0
    tokens: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    loss_steps: int = 0

    def judge(self, validation_loss: float, *, min_delta: float) -> bool:
        """Note a validation, whose loss is finite; returns whether it is the best so far."""
        best = self.best_loss
        gained = best is None or validation_loss < best - min_delta
        self.without_gain = 0 if gained else self.without_gain + 1
        if best is not None and validation_loss >= best:
            return False
        self.best_loss, self.best_step = validation_loss, self.step
        return True


def adapter_weights(model: PeftModel) -> dict[str, Tensor]:
    """A copy of the adapter's tensors on the CPU, by PEFT's file names."""
    state = get_peft_model_state_dict(model)
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


def load_adapter_weights(model: PeftModel, weights: dict[str, Tensor]) -> None:
    set_peft_model_state_dict(model, weights)


def write_state(
    directory: Path,
    *,
    model: PeftModel,
    best: dict[str, Tensor] | None,
    parts: dict[str, Any],
    position: Position,
    resolved: dict[str, Any],
) -> None:
    """`parts`: objects with `state_dict` by name (optimizer, schedule, scaler)."""
    model.save_pretrained(directory / "adapter", save_embedding_layers=False)
    if best is not None:
        (directory / "best").mkdir()
        save_file(best, directory / "best" / WEIGHTS)
    states = {name: part.state_dict() for name, part in parts.items()}
    with (directory / "state.pt").open("wb") as file:  # given a path, torch hides why it failed
        torch.save({"parts": states, "random": random_state()}, file)
    text = json.dumps({"position": asdict(position), "resolved": resolved}, indent=2)
    (directory / "position.json").write_text(text + "\n", encoding="utf-8")


def read_resolved(directory: Path) -> dict[str, Any]:
    """The settings with which the run began; a resumed one keeps them whatever "auto" gives now."""
    return json.loads((directory / "position.json").read_text(encoding="utf-8"))["resolved"]


def read_state(
    directory: Path, *, model: PeftModel, parts: dict[str, Any]
) -> tuple[Position, dict[str, Tensor] | None]:
    """Loads adapter, parts and random state in place; returns the position and the best adapter."""
    load_adapter_weights(model, load_file(directory / "adapter" / WEIGHTS))
    saved = torch.load(directory / "state.pt", weights_only=True, map_location="cpu")
    for name, part in parts.items():
        part.load_state_dict(saved["parts"][name])
    set_random_state(saved["random"])
    position = json.loads((directory / "position.json").read_text(encoding="utf-8"))["position"]
    best = directory / "best" / WEIGHTS
    return Position(**position), load_file(best) if best.exists() else None


def random_state() -> dict[str, Tensor]:
    """Where the random numbers of this process stand: what dropout draws next."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
