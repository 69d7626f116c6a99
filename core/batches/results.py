"""What a batch came to, written into two files: answers in one, what has none in the other.

In the order of the input, with nothing in memory but a few rows. Knows no caller.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from sqlalchemy.orm import Session

from core.batches.lines import read_names
from core.batches.output import OutputLine, is_answer, tokens_of, unasked
from core.batches.service import life_of
from core.batches.status import Stop
from core.db import get_database
from core.errors import NotFound
from core.files import service as files
from core.jobs.models import Job
from core.jobs.records import done_rows
from core.jobs.status import JobStatus
from core.storage import StoredFile, get_storage, hash_file


@dataclass
class OutputFile:
    """A file in the making. `field`: where the batch names it."""

    field: str
    path: Path
    key: str = ""
    stored: StoredFile | None = None


@dataclass
class Results:
    """What a batch came to."""

    completed: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    files: list[OutputFile] = field(default_factory=list)


def fetch_input(job: Job, folder: Path) -> Path | None:
    """The batch's input, brought here; None if it is deleted by now. No session is open while it
    comes: the database ends one that is idle for as long as a large file may take."""
    try:
        with get_database().reading() as session:
            file = files.get(session, job.project_id, job.request["input_file_id"])
        return get_storage().fetch(file.storage_key, folder / "input.jsonl")
    except NotFound:
        return None


def write_files(session: Session, job: Job, folder: Path, source: Path | None) -> Results:
    """Write every line of the batch into one of two files, in the order of its input, `source`."""
    results = Results()
    output, errors = folder / "output.jsonl", folder / "error.jsonl"
    with output.open("w", encoding="utf-8") as good, errors.open("w", encoding="utf-8") as bad:
        for line in _lines(session, job, source):
            _count(results, line)
            _write(good if is_answer(line) else bad, line)
    if results.completed:
        results.files.append(OutputFile("output_file_id", output))
    if results.failed:
        results.files.append(OutputFile("error_file_id", errors))
    for one in results.files:
        name = f"{job.id}_{one.path.name}"
        one.stored = StoredFile(name, one.path.stat().st_size, hash_file(one.path))
    return results


def _count(results: Results, line: OutputLine) -> None:
    prompt, completion = tokens_of(line)
    results.prompt_tokens += prompt
    results.completion_tokens += completion
    if is_answer(line):
        results.completed += 1
    else:
        results.failed += 1


def _write(file: IO[str], line: OutputLine) -> None:
    # PostgreSQL gives an object's keys back in an order of its own.
    ordered = {name: line[name] for name in ("id", "custom_id", "response", "error")}
    file.write(json.dumps(ordered, ensure_ascii=False) + "\n")


def _lines(session: Session, job: Job, source: Path | None) -> Iterator[OutputLine]:
    """What came of every line: its row, or why it has none."""
    rows = done_rows(session, job.id)
    row, data = next(rows, (None, None))
    code, message = _reason(job)
    for place, name in _names(session, job, source):
        if place == row:
            yield data
            row, data = next(rows, (None, None))
        else:
            yield unasked(name, code, message)


def _names(session: Session, job: Job, source: Path | None) -> Iterator[tuple[int, str | None]]:
    """Row and `custom_id` of every line of the input; of the answered ones alone, if that is
    deleted by now."""
    if source is None:
        return ((row, data["custom_id"]) for row, data in done_rows(session, job.id))
    return read_names(source)


def _reason(job: Job) -> tuple[str, str]:
    """Code and message of a line that was not asked."""
    if job.status == JobStatus.FAILED:
        return "batch_failed", f"The batch failed before this line: {job.error['message']}"
    if life_of(job).stop == Stop.EXPIRY:
        return "batch_expired", "The completion window was over before this line was asked."
    return "batch_cancelled", "The batch was cancelled before this line was asked."
