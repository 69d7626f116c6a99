"""What the cells that are done say: accuracies, and differences question by question. Runs none."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy.bootstrap import difference
from benchmarks.accuracy.cells import Cell
from core.evaluations.summary import share

AIMS = {"smollm2-135m": 0.75, "qwen2.5-coder-0.5b": 0.85}
PAIRS = (
    ("ours-8bit", "ours-full"),
    ("ours-8bit", "trl-full"),
    ("ours-full", "trl-full"),
    ("ours-8bit", "base-zero-shot"),
    ("ours-8bit", "base-three-shot"),
)

Runs = Mapping[int, dict[str, Any]]  # what a cell left, by its seed


def conclude(
    wanted: Sequence[Cell], home: Path, model: str, *, epochs: float | None = None
) -> dict[str, Any]:
    """Accuracies by split and method, over the seeds that are done; differences over those that
    both have. `epochs`: where they are not those that the product chooses."""
    done: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for cell in wanted:
        kept = home / cell.name / "rows.json"
        if kept.exists():
            runs = done.setdefault((cell.split, cell.method), {})
            runs[cell.seed] = json.loads(kept.read_text(encoding="utf-8"))
    return {
        "model": model,
        "goal": 10,
        "aim": AIMS.get(model),
        "epochs": epochs,
        "accuracies": [_accuracy(key, [*runs.values()]) for key, runs in done.items()],
        "differences": [*_differences(done)],
    }


def _accuracy(key: tuple[str, str], runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    flags = [_right(run) for run in runs]
    return {
        "split": key[0],
        "method": key[1],
        "precision": runs[0]["figures"]["precision"],
        "seeds": [share(run)["value"] for run in flags],
        "questions": len(flags[0]),
        "invalid_sql": sum(run["figures"]["invalid_sql"] for run in runs) / len(runs),
        **share(flag for run in flags for flag in run),
    }


def _differences(done: Mapping[tuple[str, str], Runs]) -> Iterator[dict[str, Any]]:
    for split in dict.fromkeys(split for split, _ in done):
        for ours, peer in PAIRS:
            given, theirs = done.get((split, ours), {}), done.get((split, peer), {})
            # The base draws nothing: its one run stands beside each seed.
            seeds = given.keys() if theirs.keys() == {0} else given.keys() & theirs.keys()
            if seeds:
                told = {"split": split, "ours": ours, "peer": peer, "seeds": sorted(seeds)}
                yield told | difference(
                    _means(given[seed] for seed in seeds),
                    _means(theirs.get(seed, theirs.get(0)) for seed in seeds),
                )


def _means(runs: Iterable[dict[str, Any]]) -> list[float]:
    """For each question the share of the seeds that answered it rightly."""
    return [sum(flags) / len(flags) for flags in zip(*map(_right, runs), strict=True)]


def _right(run: dict[str, Any]) -> list[bool]:
    return [row["correct"] for row in run["rows"]]
