"""What is varied, and who plays at each point. Tokens are random: only lengths matter here."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.calling import ours, peer
from benchmarks.contest import Contestant
from benchmarks.memory.__main__ import sampled

PREFIX, PROMPT, COMPLETION, NEW_TOKENS = 250, 15, 45, 32
AXES = {
    "prefix": (100, 250, 500, 1000, 2000, 4000),
    "group": (1, 2, 4, 8, 16, 32),
    "rows": (1, 4, 16, 64),
    "adapters": (1, 2, 4, 8, 16),
}
# A longer prefix is ours alone: of the peer's steps one would last minutes, and take, beside
# ours, what a machine of 24 GiB has.
PEER_PREFIX = 2000
UNITS = {
    "prefix": "tokens of the shared prefix (training, groups of 8)",
    "group": f"examples in a group (training, prefix {PREFIX})",
    "rows": f"questions in a batch (inference, prefix {PREFIX})",
    "adapters": f"adapters in a batch of 32 (inference, prefix {PREFIX})",
}


@dataclass(frozen=True)
class Point:
    axis: str
    value: int
    count: int  # examples or questions in a turn
    contestants: tuple[Contestant, ...]


def points(axis: str, told: dict[str, Any], adapters: list[str], folder: Path) -> Iterator[Point]:
    """`told`: what all contestants are told; files of random tokens are written to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for value in AXES[axis]:
        if axis == "prefix":
            players = _training(told, folder, prefix=value, batch=8)
            players = players if value <= PEER_PREFIX else players[:1]
        elif axis == "group":
            players = _training(told, folder, prefix=PREFIX, batch=value)
        elif axis == "rows":
            players = _inference(told, folder, batch=value)
        else:
            players = _adapters(told, folder, adapters[:value])
        count = {"prefix": 8, "group": value, "rows": value, "adapters": 32}[axis]
        yield Point(axis, value, count, tuple(map(sampled, players)))


def _training(told: dict[str, Any], folder: Path, *, prefix: int, batch: int) -> list[Contestant]:
    rows = _rows(folder, prefix)
    given = told | {"rows": rows, "batch": batch}
    return [
        ours("ours", "training.ours", given | {"micro_batch": batch}),
        peer("peft", "hf", "peft_plain.py", given | {"micro_batch": min(batch, 2)}),
    ]


def _inference(told: dict[str, Any], folder: Path, *, batch: int) -> list[Contestant]:
    given = told | {"prompts": _prompts(folder), "max_new_tokens": NEW_TOKENS, "batch": batch}
    return [
        ours("ours", "inference.ours", given),
        peer("transformers", "hf", "hf_generate.py", given | {"rows": min(batch, 32)}),
    ]


def _adapters(told: dict[str, Any], folder: Path, adapters: list[str]) -> list[Contestant]:
    given = told | {"prompts": _prompts(folder), "max_new_tokens": NEW_TOKENS, "batch": 32}
    given |= {"adapters": adapters, "keep": True, "rows": 32}
    return [
        ours("ours", "adapters.ours", given),
        peer("peft", "hf", "peft_adapters.py", given),
    ]


def _rows(folder: Path, prefix: int) -> str:
    path = folder / f"rows-{prefix}.jsonl"
    _write(path, prefix, lambda p, c: {"prompt_ids": p, "completion_ids": c})
    return str(path)


def _prompts(folder: Path) -> str:
    path = folder / "prompts.jsonl"
    _write(path, PREFIX, lambda prompt, completion: prompt)
    return str(path)


def _write(path: Path, prefix: int, shape) -> None:
    """64 lines of random tokens behind one prefix."""
    chance = random.Random(1)

    def tokens(count: int) -> list[int]:
        return [chance.randrange(1000, 40_000) for _ in range(count)]

    shared = tokens(prefix)
    lines = [json.dumps(shape(shared + tokens(PROMPT), tokens(COMPLETION))) for _ in range(64)]
    path.write_text("\n".join(lines), encoding="utf-8")
