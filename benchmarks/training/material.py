"""What every contestant trains on: rows in tokens, and an adapter to begin with. Knows no contest.

The rows are GeoQuery's training questions behind the schema, tokenised once and shuffled: the file
has them by template, and a few turns would see few templates. The adapter has PEFT's format, its B
is not zero, so that every gradient says something.
"""

import json
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.settings import load_settings

STORE = load_settings().model_dir.expanduser()


@dataclass(frozen=True)
class Material:
    """`rows`: JSON lines {prompt_ids, completion_ids}; `adapter`: a folder in PEFT's format."""

    model: Path
    rows: Path
    adapter: Path
    prefix: int
    own: float
    labels: float


def read_rows(path: Path) -> list[dict[str, list[int]]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def prepare(model: str, data: Path, folder: Path) -> Material:
    """Write the material below `folder`. Means a row: `own` tokens behind the shared `prefix`,
    `labels` of them."""
    from transformers import AutoTokenizer

    from core.sql.introspect import introspect_sqlite
    from core.sql.render import render_schema
    from core.training.prompts import PromptTemplate
    from workers.ml.packing import Example, common_prefix

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(STORE / model, local_files_only=True)
    schema = render_schema(introspect_sqlite(data / "db.sqlite"))
    template = PromptTemplate("schema", schema, "sqlite")
    lines = (data / "examples.jsonl").read_text(encoding="utf-8").splitlines()
    rows: list[dict[str, Any]] = []
    for example in map(json.loads, lines):
        if example["split"] == "train":
            asked = {"question": example["question"], "answer": example["sql"]}
            encoded = template.encode(tokenizer, asked)
            rows.append(vars(encoded))
    random.Random(1).shuffle(rows)
    # Named for its order: contests that were begun with another one don't go on with this.
    path = folder / "rows-shuffled.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    examples = [Example(i, row["prompt_ids"], row["completion_ids"]) for i, row in enumerate(rows)]
    prefix = common_prefix(examples)
    return Material(
        model=STORE / model,
        rows=path,
        adapter=_adapter(STORE / model, folder / "adapter"),
        prefix=prefix,
        own=sum(len(e) - prefix for e in examples) / len(examples),
        labels=sum(len(e.completion_ids) for e in examples) / len(examples),
    )


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `folder` at the end: whoever finds that finds all of it."""
    partial = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    partial.rename(folder)


def _adapter(model: Path, folder: Path) -> Path:
    import torch

    from core.training.hyperparameters import LoraSettings
    from workers.ml.loading import load_base
    from workers.ml.lora import attach_adapter

    if folder.exists():
        return folder
    loaded = load_base(model, precision="fp32")
    adapted = attach_adapter(loaded.model, LoraSettings(layers="all"), seed=1)
    chance = torch.Generator().manual_seed(1)
    for name, weight in adapted.named_parameters():
        if ".lora_B." in name:
            weight.data.normal_(std=0.01, generator=chance)
    with whole(folder) as partial:
        adapted.save_pretrained(str(partial))
    return folder
