"""The optimizer and the learning-rate schedule. Knows no model and no loop."""

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from core.errors import JobFailure

SCHEDULES = ("linear", "cosine", "constant")


def make_optimizer(
    parameters: Iterable[nn.Parameter], *, learning_rate: float, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW; decay on matrices only: pulling a norm's gain to zero regularises nothing."""
    parameters = list(parameters)
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=learning_rate)


def make_schedule(
    optimizer: torch.optim.Optimizer, *, schedule: str, warmup_ratio: float, total_steps: int
) -> LambdaLR:
    """A linear rise over the first `warmup_ratio` of the steps, then linearly or by a cosine to
    zero, or constant."""
    if schedule not in SCHEDULES:
        raise JobFailure("config", f"unknown schedule {schedule!r}; one of {SCHEDULES}")
    warmup = math.ceil(warmup_ratio * total_steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        done = (step - warmup) / max(1, total_steps - warmup)
        return {
            "constant": 1.0,
            "linear": max(0.0, 1.0 - done),
            "cosine": 0.5 * (1.0 + math.cos(math.pi * min(1.0, done))),
        }[schedule]

    return LambdaLR(optimizer, factor)


def prepare_scaler(scaler: torch.amp.GradScaler | None, device: str) -> None:
    """Have it make its factor, which it makes with the first loss that it scales: a rank without an
    example in the first step scales none, and could not unscale the sum of the gradients."""
    if scaler is not None:
        scaler.scale(torch.zeros((), device=device))
