"""What a file is for, and what follows from it for its bytes. Knows no table.

The words are OpenAI's. `batch_output` and `fine-tune-results` are made by jobs; a `dataset` is what
came with a dataset and is that one's own.
"""

from pathlib import Path
from typing import Any, Protocol

from core.datasets.intake import Intake
from core.errors import InvalidInput, TooLarge
from core.settings import get_settings
from core.storage import CHUNK

OF_DATASET = "dataset"
UPLOADED = ("fine-tune", "batch", "user_data", "evals", "assistants", "vision")
ROWS = ("fine-tune", "batch", "evals", OF_DATASET)
"""Purposes whose files are rows of text or Parquet; the others may hold anything."""
DAY = 24 * 3600
LIFE_SECONDS = {"batch": 30 * DAY}
"""OpenAI's default: only what batches were fed with expires by itself."""


class Guard(Protocol):
    """Sees a file's bytes as they come and raises at once if they won't do."""

    def feed(self, chunk: bytes) -> None: ...

    def finish(self) -> Any: ...


class Bounded:
    """Any bytes, at least one and not too many."""

    def __init__(self, max_bytes: int, *, param: str = "file") -> None:
        self._max_bytes = max_bytes
        self._param = param
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > self._max_bytes:
            limit = f"{self._max_bytes / 1024**2:g} MiB"
            raise TooLarge(f"'{self._param}' is larger than {limit}.", param=self._param)

    def finish(self) -> None:
        if not self._size:
            message = f"'{self._param}' is empty; at least one byte is right."
            raise InvalidInput(message, code="empty_file", param=self._param)


def require_purpose(purpose: str) -> str:
    """The purpose of an upload, or `InvalidInput` with those there are."""
    if purpose not in UPLOADED:
        raise InvalidInput(f"purpose: one of {', '.join(UPLOADED)} is right.", param="purpose")
    return purpose


def look_through(path: Path, guard: Guard) -> None:
    """Let a guard see a file that is here already."""
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            guard.feed(chunk)
    guard.finish()


def guard_for(purpose: str, filename: str) -> Guard:
    """What a file of this purpose has to pass while it comes."""
    settings = get_settings()
    if purpose not in ROWS:
        return Bounded(settings.max_upload_bytes)
    return Intake(
        filename, max_bytes=settings.max_upload_bytes, max_line_bytes=settings.max_line_bytes
    )
