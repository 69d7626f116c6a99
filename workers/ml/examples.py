"""From rows of a prepared dataset to token ids. Knows the columns; no model and no training.

Columns: `line` (in the source file), `question`, `input`, `answer`, `context` (JSON messages).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import JobFailure
from workers.ml.packing import Example
from workers.ml.prompts import PromptTemplate

NAMED_ROWS = 10  # at most so many rows are named in a refusal


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


def encode_rows(
    rows: Iterable[Mapping[str, Any]],
    tokenizer,
    template: PromptTemplate,
    *,
    max_length: int,
    truncate: bool,
) -> list[Example]:
    """Every row in tokens. One longer than `max_length` tokens is cut at its end if `truncate`;
    else, and where not even the prompt fits, JobFailure (data) names the rows' lines."""
    examples, refused = [], []
    for row in rows:
        encoded = template.encode(tokenizer, row)
        example = Example(row["line"], encoded.prompt_ids, encoded.completion_ids)
        if len(example) > max_length:
            if not truncate or len(example.prompt_ids) >= max_length:
                refused.append(example)
                continue
            room = max_length - len(example.prompt_ids)
            example = Example(example.line, example.prompt_ids, example.completion_ids[:room])
        examples.append(example)
    if refused:
        raise JobFailure("data", _too_long(refused, max_length), rows=len(refused))
    return examples


def _too_long(refused: list[Example], max_length: int) -> str:
    named = ", ".join(f"line {e.line} ({len(e)} tokens)" for e in refused[:NAMED_ROWS])
    more = f" and {len(refused) - NAMED_ROWS} more" if len(refused) > NAMED_ROWS else ""
    return (
        f"{len(refused)} rows are longer than max_length {max_length}: {named}{more}; raise "
        "max_length to the longest, shorten the rows, or ask for long_rows: truncate"
    )
