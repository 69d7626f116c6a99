"""Goal 2's second half: the shared prefix changes what a step costs, not its gradient.

The gradient of one step of ours, as one group behind the shared prefix, against that of TRL's
SFTTrainer in padded batches of 4: the same examples, fp32, before clipping.
"""

import json
import math
from pathlib import Path
from typing import Any

from benchmarks.contest import Contestant, Player


def difference(ours: Contestant, trl: Contestant, gradients: Path) -> dict[str, Any]:
    """Norm of the difference over the peer's norm: of all tensors as one, and of the worst. TRL is
    told to leave its `gradients` there."""
    return compare(our_gradients(json.loads(ours.command[-1])), trl_gradients(trl, gradients))


def our_gradients(told: dict[str, Any]) -> dict[str, Any]:
    from benchmarks.training.ours import build
    from workers.ml.module import TrainingModule
    from workers.ml.packing import groups_of

    training, _ = build(told)
    batch = training.examples[: told["batch"]]
    labels = sum(len(example.completion_ids) for example in batch)
    module = TrainingModule(training.model).train()
    for group in groups_of(batch, micro_batch=told["batch"], share_prefix=True):
        loss, _ = module(group)
        (loss / labels).backward()
    named = training.model.named_parameters()
    return {name: weight.grad for name, weight in named if weight.grad is not None}


def trl_gradients(trl: Contestant, gradients: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    player = Player(trl, gradients.with_suffix(".log"))
    player.turn()
    player.leave()
    return load_file(gradients)


def compare(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    if ours.keys() != theirs.keys():
        raise SystemExit(f"other tensors: {sorted(ours.keys() ^ theirs.keys())[:4]}")
    gaps = {name: float((ours[name] - theirs[name]).norm()) for name in ours}
    sizes = {name: float(theirs[name].norm()) for name in ours}
    return {
        "tensors": len(ours),
        "whole": math.hypot(*gaps.values()) / math.hypot(*sizes.values()),
        "worst": max(gaps[name] / sizes[name] for name in ours if sizes[name]),
    }
