"""All benchmarks against peers, one after the other, then the page: what `make bench` runs.

    python -m benchmarks FOLDER [--models A B] [--minutes M]

FOLDER is GeoQuery's. Growth is measured with the smallest model alone. What is finished within
`--minutes` is not begun again by the next call, what was stopped goes on, and when all is there the
next call begins anew; but for the trainings of goal 10, hours each, which stay in
.tuneyard/bench/accuracy until somebody deletes them.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.page import BENCHES, MODELS

DONE = Path(".tuneyard/bench/done")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    options = parser.parse_args()
    until = time.monotonic() + 60 * options.minutes
    DONE.mkdir(parents=True, exist_ok=True)
    pairs = [(bench, model) for model in options.models for bench in BENCHES]
    wanted = [(bench, model) for bench, model in pairs if bench != "growth" or model == MODELS[0]]
    for bench, model in wanted:
        left = (until - time.monotonic()) / 60
        mark = DONE / f"{bench}-{model}"
        if left > 0 and not mark.exists() and run(bench, model, options.folder, left):
            mark.touch()
    subprocess.run([sys.executable, "-m", "benchmarks.page"], check=True)
    if open_ := [f"{b} {m}" for b, m in wanted if not (DONE / f"{b}-{m}").exists()]:
        raise SystemExit(f"not finished: {', '.join(open_)}; the same command goes on from here")
    for bench, model in wanted:
        (DONE / f"{bench}-{model}").unlink()


def run(bench: str, model: str, folder: Path, minutes: float) -> bool:
    """Whether it came to its end; the others go on without one that did not."""
    print(f"{bench}, {model}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", f"benchmarks.{bench}", str(folder), "--model", model]
    if minutes != float("inf"):
        command += ["--minutes", f"{minutes:.1f}"]
    return subprocess.run(command).returncode == 0


if __name__ == "__main__":
    main()
