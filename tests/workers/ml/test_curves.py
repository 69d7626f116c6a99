"""The curves of all attempts become one file."""

import json
from pathlib import Path

from workers.ml.curves import read_points, write_curves


def test_points_of_all_attempts_are_lines_up_to_the_last_step(tmp_path: Path) -> None:
    earlier = {1: {"loss": 3.0, "learning_rate": 0.1}, 2: {"loss": 9.0}, 5: {"loss": 9.0}}
    lines = tmp_path / "curves"
    lines.write_text("".join(json.dumps([step, values]) + "\n" for step, values in earlier.items()))
    validated = {"validation_loss": 2.5, "validation_token_accuracy": 0.75}
    step = {"loss": 2.0, "token_accuracy": 0.5, "memory_bytes": 7}
    now = {2: step | validated, 3: {"loss": 1.0}}
    write_curves(tmp_path / "out.csv", read_points(lines) | now, steps=3)
    assert (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines() == [
        "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy,learning_rate,"
        "gradient_norm",
        "1,3.0,,,,0.1,",
        "2,2.0,0.5,2.5,0.75,,",
        "3,1.0,,,,,",
    ]
