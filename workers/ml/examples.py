"""A prepared dataset as a training reads it. Knows the columns; no model and no training.

Columns: `line` (in the source file), `question`, `input`, `answer`, `context` (JSON messages).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Dataset:
    """`splits`: rows by split name; `kind`: sql, instruction or chat."""

    kind: str
    schema_text: str | None
    dialect: str | None
    content_hash: str | None
    splits: Mapping[str, Any]


def read_dataset(directory: Path) -> Dataset:
    from datasets import load_from_disk

    meta = json.loads((directory / "dataset.json").read_text(encoding="utf-8"))
    return Dataset(
        kind=meta["kind"],
        schema_text=meta.get("schema_text"),
        dialect=meta.get("dialect"),
        content_hash=meta.get("content_hash"),
        splits=load_from_disk(str(directory)),
    )
