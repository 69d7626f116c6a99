"""What the cells that are done say: accuracies, and differences question by question. Runs none."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy.bootstrap import difference
from benchmarks.accuracy.cells import Cell
from core.evaluations.summary import share

AIMS = {("smollm2-135m", "test"): 0.75, ("qwen2.5-coder-0.5b", "test"): 0.85}
PAIRS = (
    ("ours-8bit", "ours-full"),
    ("ours-8bit", "trl-full"),
    ("ours-full", "trl-full"),
    ("ours-full", "classic-full"),
    ("ours-8bit", "peft-8bit"),
    ("ours-8bit", "base-zero-shot"),
    ("ours-8bit", "base-three-shot"),
)

Runs = Mapping[int, dict[str, Any]]  # what a cell left, by its seed


def conclude(
    split: str, wanted: Sequence[Cell], home: Path, model: str, *, epochs: float | None = None
) -> dict[str, Any]:
    """Accuracies by method on a split, over the seeds that are done; differences over those that
    both have. `epochs`: where they are not those that the product chooses."""
    done: dict[str, dict[int, dict[str, Any]]] = {}
    for cell in wanted:
        kept = home / cell.name / "rows.json"
        if kept.exists():
            runs = done.setdefault(cell.method, {})
            runs[cell.seed] = json.loads(kept.read_text(encoding="utf-8"))
    return {
        "model": model,
        "goal": 10,
        "split": split,
        "aim": AIMS.get((model, split)),
        "epochs": epochs,
        "commits": [
            *dict.fromkeys(run["commit"] for runs in done.values() for run in runs.values())
        ],
        "accuracies": [_accuracy(method, [*runs.values()]) for method, runs in done.items()],
        "differences": [*_differences(done)],
    }


def _accuracy(method: str, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    flags = [_right(run) for run in runs]
    return {
        "method": method,
        "precision": runs[0]["figures"]["precision"],
        "seeds": [share(run)["value"] for run in flags],
        "questions": len(flags[0]),
        "invalid_sql": sum(run["figures"]["invalid_sql"] for run in runs) / len(runs),
        **share(flag for run in flags for flag in run),
    }


def _differences(done: Mapping[str, Runs]) -> Iterator[dict[str, Any]]:
    for ours, peer in PAIRS:
        given, theirs = done.get(ours, {}), done.get(peer, {})
        # The base draws nothing: its one run stands beside each seed.
        seeds = given.keys() if theirs.keys() == {0} else given.keys() & theirs.keys()
        if seeds:
            told = {"ours": ours, "peer": peer, "seeds": sorted(seeds)}
            yield told | difference(
                _means(given[seed] for seed in seeds),
                _means(theirs.get(seed, theirs.get(0)) for seed in seeds),
            )


def _means(runs: Iterable[dict[str, Any]]) -> list[float]:
    """For each question the share of the seeds that answered it rightly."""
    return [sum(flags) / len(flags) for flags in zip(*map(_right, runs), strict=True)]


def _right(run: dict[str, Any]) -> list[bool]:
    return [row["correct"] for row in run["rows"]]
