"""The curves of a training as one CSV file, a line a step. Knows neither a model nor a job."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE_NAME = "step_metrics.csv"
COLUMNS = {
    "train_loss": "loss",
    "train_accuracy": "token_accuracy",
    "valid_loss": "validation_loss",
    "valid_mean_token_accuracy": "validation_token_accuracy",
    "learning_rate": "learning_rate",
    "gradient_norm": "gradient_norm",
}
"""What is written, with OpenAI's names of it, and our names."""

Points = Mapping[int, Mapping[str, Any]]


def read_points(lines: Path) -> dict[int, dict[str, Any]]:
    """Points that earlier attempts left: JSON Lines of [step, values]."""
    with lines.open(encoding="utf-8") as source:
        return {step: values for step, values in map(json.loads, source)}


def write_curves(path: Path, points: Points, *, steps: int) -> None:
    """The points up to the last step; what an attempt has done beyond it was undone."""
    with path.open("w", encoding="utf-8", newline="") as target:
        out = csv.writer(target, lineterminator="\n")
        out.writerow(["step", *COLUMNS])
        for step in sorted(step for step in points if step <= steps):
            out.writerow([step, *(points[step].get(name) for name in COLUMNS.values())])
