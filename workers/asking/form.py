"""What a line of a batch asks and what becomes of its answer, in the two forms that there are.

`questions` are ours, `lines` OpenAI's. Knows neither model nor job.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from workers.ml.generation import Completion, Request

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that can't be asked; its row says why."""

    row: Row


class Form(Protocol):
    """`read` yields every line's number from 0 with what it asks, which `request` and `row` are
    given again. Either may find that a line can't be asked."""

    def read(self, path: Path) -> Iterator[tuple[int, Any | Refused]]: ...

    def request(self, index: int, asked: Any) -> Request | Refused: ...

    def row(self, asked: Any, completions: list[Completion]) -> Row:
        """The durable row of a line, from all of its answers in order."""

    def count(self, row: Row) -> None:
        """Take a row into the summary."""

    @property
    def failed(self) -> int:
        """Rows so far that have an error."""

    def summary(self) -> dict[str, Any]: ...


def count_lines(path: Path) -> int:
    """Those that hold something."""
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())
