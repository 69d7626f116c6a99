"""A real runner whose recipe counts: a checkpoint every `every` steps, a row each step.

Started as `python -m tests.workers.counting_runner`, in the place of `workers.runner`. The job's
type is `count` (`counting.py`).
"""

import sys
import time
import types
from pathlib import Path

from workers import runner
from workers.context import Context


def run(ctx: Context) -> dict[str, int]:
    """As a training does: resumes at a checkpoint, saves before it stops for a pause or a drain."""
    step = int((ctx.resume / "step").read_text()) if ctx.resume else 0
    begun = step

    def save() -> None:
        ctx.checkpoint(step, lambda folder: keep(folder, step))

    while step < ctx.params["steps"]:
        if ctx.stop_requested() in ("pause", "drain") and step > begun:
            save()
        ctx.check()
        step += 1
        ctx.progress(step, ctx.params["steps"])
        ctx.row(step, {"step": step})
        if step % ctx.params["every"] == 0:
            save()
        time.sleep(ctx.params["seconds"])
    (ctx.out / "counted").write_text(str(step))
    return {"begun": begun, "counted": step}


def keep(folder: Path, step: int) -> None:
    (folder / "step").write_text(str(step))


if __name__ == "__main__":
    recipe = types.ModuleType("workers.recipes.count")
    recipe.run = run
    sys.modules["workers.recipes.count"] = recipe
    runner.main(sys.argv)
