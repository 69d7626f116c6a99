"""A batch's file as a whole: every bad line named, in one pass and little memory.

Runs where the batch is asked for. Knows no database; whether the model exists is not judged here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from core.batches.lines import Endpoint, Line, LineError, read_lines
from core.chat.sql import SqlRequest
from core.datasets.problems import MAX_MESSAGE, MAX_PATH, clean, shown

MOST_LINES = 50_000
MOST_ERRORS = 200
"""Named one by one; beyond, they are counted."""


@dataclass
class Verdict:
    """`model` and `database`: those of the first good line, and so of all."""

    total: int = 0
    model: str | None = None
    database: str | None = None
    first_line: int | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)
    error_count: int = 0

    def add(self, error: LineError, line: int | None) -> None:
        """Count what is wrong with a line, and name it while there is room."""
        self.error_count += 1
        if len(self.errors) < MOST_ERRORS:
            self.errors.append(
                {
                    "code": error.code,
                    "message": clean(error.message, limit=MAX_MESSAGE),
                    "line": line,
                    "param": error.param and clean(error.param, limit=MAX_PATH),
                }
            )


def validate(path: Path, endpoint: Endpoint) -> Verdict:
    """Judge the file, up to the line that is one too many."""
    verdict = Verdict()
    seen: set[bytes] = set()
    for line in read_lines(path, endpoint):
        if line.row == MOST_LINES:
            message = f"a batch has at most {MOST_LINES:,} lines; split it"
            verdict.add(LineError("too_many_lines", message), line.number)
            return verdict
        verdict.total += 1
        for error in _faults(line, verdict, seen):
            verdict.add(error, line.number)
    if not verdict.total:
        verdict.add(LineError("empty_file", "there is no line; at least one is right"), None)
    return verdict


def _faults(line: Line, verdict: Verdict, seen: set[bytes]) -> Iterator[LineError]:
    if line.custom_id is not None and _is_seen(line.custom_id, seen):
        message = f"{shown(line.custom_id)} is an earlier line's; each line has its own"
        yield LineError("duplicate_custom_id", message, "custom_id")
    if line.error is not None:
        yield line.error
        return
    database = line.request.database if isinstance(line.request, SqlRequest) else None
    if verdict.first_line is None:
        verdict.first_line = line.number
        verdict.model, verdict.database = line.request.model, database
    if line.request.model != verdict.model:
        yield _mismatch("model", line.request.model, verdict.model, verdict.first_line)
    if database != verdict.database:
        yield _mismatch("database", database, verdict.database, verdict.first_line)


def _mismatch(what: str, found: str, wanted: str, line: int) -> LineError:
    message = (
        f"{shown(found)}, but line {line} asks {shown(wanted)}; a batch has one {what}, "
        "make a batch of each"
    )
    return LineError(f"{what}_mismatch", message, f"body.{what}")


def _is_seen(name: str, seen: set[bytes]) -> bool:
    """By a digest: names may be long, and there are many."""
    digest = blake2b(name.encode(), digest_size=16).digest()
    known = digest in seen
    seen.add(digest)
    return known
