"""One file judged in a process of its own: `python -m benchmarks.api.validating KIND FILE FOLDER`.

KIND is `dataset` (the whole prepare recipe, without a database) or `batch`. Prints seconds and by
how many bytes the process grew at its peak.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.api.memory import peak, reset_peak, resident


def dataset(path: Path, folder: Path) -> Callable[[], bool]:
    from workers.context import LocalContext
    from workers.recipes.prepare import run

    ctx = LocalContext({"filename": path.name}, {"file": path}, folder / "work")
    return lambda: run(ctx)["status"] == "ready"


def batch(path: Path, _folder: Path) -> Callable[[], bool]:
    from core.batches.validation import validate

    return lambda: not validate(path, "/v1/chat/completions").error_count


def main() -> None:
    kind, path, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    judge = {"dataset": dataset, "batch": batch}[kind](path, folder)
    before, begun = resident(), time.perf_counter()
    reset_peak()
    if not judge():
        raise SystemExit(f"{path} was found wrong; it is right")
    seconds = time.perf_counter() - begun
    print(json.dumps({"seconds": seconds, "grown_bytes": peak() - before}))


if __name__ == "__main__":
    main()
