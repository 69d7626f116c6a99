"""A prepared dataset on disk: accepted examples in between, Arrow by `datasets` in the end.

    dataset/<split>/data-*.arrow   columns line, question, input, answer, context
    dataset/dataset_dict.json      of `datasets`
    dataset/dataset.json           ours: kind, dialect, splits, schema_text, max_tokens …

Knows nothing of how examples came about.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from core.datasets.examples import Example, Kept, SqlFigures

INFO_NAME = "dataset.json"
BATCH = 1000


class Spool:
    """Accepted examples and their SQL figures on disk, so that a file need not fit in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream = path.open("wb")

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self.path.unlink(missing_ok=True)

    def add(self, example: Example, sql: SqlFigures | None) -> None:
        self._stream.write(msgspec.json.encode((example, sql)) + b"\n")

    def batches(self) -> Iterator[list[tuple[Example, SqlFigures | None]]]:
        """What was added, in order, `BATCH` at a time."""
        self._stream.flush()
        decoder = msgspec.json.Decoder(tuple[Example, SqlFigures | None])
        batch = []
        with self.path.open("rb") as stream:
            for line in stream:
                batch.append(decoder.decode(line))
                if len(batch) == BATCH:
                    yield batch
                    batch = []
        if batch:
            yield batch


class DatasetWriter:
    """Writes splits as Arrow in bounded memory, and hashes what it writes.

    `scratch` is emptied in the end; `target` must not exist: a dataset is written once.
    """

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        scratch.mkdir(parents=True)
        self._writers: dict[str, Any] = {}
        self._hashes: dict[str, Any] = {}

    def add(self, kept: Iterable[Kept]) -> None:
        """Append each example to its split."""
        by_split: dict[str, list[Example]] = {}
        for example, _, split in kept:
            by_split.setdefault(split, []).append(example)
        for split, members in by_split.items():
            self._write(split, members)

    def _write(self, split: str, examples: list[Example]) -> None:
        import pyarrow as pa  # the API reads datasets without ever writing one

        if split not in self._writers:
            path = self.scratch / f"{split}.arrow"
            self._writers[split] = pa.ipc.new_stream(str(path), _schema())
            self._hashes[split] = hashlib.sha256()
        columns = {
            name: [getattr(example, name) for example in examples] for name in _schema().names
        }
        self._writers[split].write_batch(pa.record_batch(columns, schema=_schema()))
        for example in examples:
            self._hashes[split].update(canonical(example) + b"\n")

    def content_hash(self, *, kind: str) -> str:
        """SHA-256 over kind, split names and canonical rows in order: equal for equal content,
        wherever and from whatever format it was made."""
        whole = hashlib.sha256(kind.encode())
        for split in sorted(self._hashes):
            whole.update(f"\n{split} {self._hashes[split].hexdigest()}".encode())
        return whole.hexdigest()

    def save(self, target: Path, info: dict[str, Any]) -> None:
        """Write the directory; the scratch folder goes."""
        for writer in self._writers.values():
            writer.close()
        datasets = _offline_datasets(self.scratch)
        parts = {
            split: datasets.Dataset.from_file(str(self.scratch / f"{split}.arrow"))
            for split in sorted(self._writers)
        }
        target.mkdir(parents=True)  # not over an older one
        datasets.DatasetDict(parts).save_to_disk(str(target))
        text = json.dumps(info, ensure_ascii=False, indent=2)
        (target / INFO_NAME).write_text(text + "\n", encoding="utf-8")
        shutil.rmtree(self.scratch)


def canonical(example: Example) -> bytes:
    """The content of an example, without the place where it stood."""
    return msgspec.json.encode([example.question, example.input, example.answer, example.context])


def _schema() -> Any:
    import pyarrow as pa

    texts = [(name, pa.string()) for name in ("question", "input", "answer", "context")]
    return pa.schema([("line", pa.int64()), *texts])


def _offline_datasets(scratch: Path) -> Any:
    """The library `datasets`, without progress bars, a hub, or a cache in the home directory."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("HF_DATASETS_CACHE", str(scratch / "cache"))
    import datasets

    datasets.disable_progress_bars()
    return datasets


def read_info(dataset: Path) -> dict[str, Any]:
    """`dataset.json` of a prepared dataset."""
    return json.loads((dataset / INFO_NAME).read_text(encoding="utf-8"))


def read_examples(dataset: Path, split: str, *, start: int = 0, limit: int = 20) -> list[dict]:
    """Rows `start` … `start + limit` of a split, by column name; needs pyarrow alone."""
    import pyarrow as pa

    found: list[dict] = []
    state = json.loads((dataset / split / "state.json").read_text(encoding="utf-8"))
    for part in state["_data_files"]:
        with pa.memory_map(str(dataset / split / part["filename"])) as source:
            for batch in pa.ipc.open_stream(source):
                found += batch.slice(start, limit - len(found)).to_pylist()
                start = max(0, start - batch.num_rows)
                if len(found) == limit:
                    return found
    return found
