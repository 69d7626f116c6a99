"""What contestants of ours have in common: they are told in JSON what to load and what to ask.

Told to each of them: model, adapter (or none), prompts, quantization, precision, threads, batch
(questions a turn), max_new_tokens.
"""

import json
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any, TextIO

from benchmarks.inference.material import read_prompts


def load(told: dict[str, Any]) -> Any:
    """The base, with the adapter on it, computing with so many threads."""
    import torch

    from workers.ml.loading import load_adapter, load_base

    torch.set_num_threads(told["threads"])
    loaded = load_base(
        Path(told["model"]), quantization=told["quantization"], precision=told["precision"]
    )
    return load_adapter(loaded, Path(told["adapter"])) if told["adapter"] else loaded


def prompts_behind(told: dict[str, Any], answers: Path) -> Iterator[tuple[int, list[int]]]:
    """Numbered prompts without end, from behind those that are answered in the file: a contest that
    goes on asks what was not asked."""
    answered = len(answers.read_bytes().splitlines()) if answers.exists() else 0
    return islice(cycle(enumerate(read_prompts(Path(told["prompts"])))), answered, None)


def keep(number: int, token_ids: list[int], answers: TextIO) -> None:
    print(json.dumps([number, token_ids]), file=answers, flush=True)
