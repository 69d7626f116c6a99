"""The values that readers hand out: a row as found in the file, or what is wrong with it."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from core.datasets.problems import Problem, type_name
from core.datasets.strictjson import BadJson, decode

MAX_ROW_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Row:
    """`value` by column name, or None with a `problem`.

    `line` is 1-based, where the row begins; 0: the problem is the file's, not a row's.
    """

    line: int
    value: dict[str, Any] | None
    problem: Problem | None = None


class RowSource(Protocol, AbstractContextManager["RowSource"]):
    """A file of rows, read once from front to back. `size` and `position` in bytes."""

    size: int

    def __iter__(self) -> Iterator[Row]: ...

    def position(self) -> int: ...


def bad_row(line: int, code: str, message: str, *, path: str = "$") -> Row:
    return Row(line, None, Problem(code, message, line or None, path))


def json_row(line: int, data: bytes) -> Row:
    """The row that begins at `line`, out of one JSON text (which may span lines)."""
    try:
        value = decode(data)
    except BadJson as bad:
        place = line + data.count(b"\n", 0, bad.offset)
        return Row(line, None, Problem(bad.code, bad.message, place, bad.path))
    if not isinstance(value, dict):
        return bad_row(
            line,
            "not_an_object",
            f'{type_name(value)}; an object such as {{"question": …, "sql": …}} is right',
        )
    return Row(line, value)


def row_id(value: Mapping[str, Any], *, except_for: Iterable[str] = ()) -> str | int | None:
    """The id that a file gives a row, if it gives one; columns with another role are none."""
    for name in ("id", "custom_id"):
        found = value.get(name)
        if name not in except_for and isinstance(found, str | int) and found != "":
            return found
    return None


def too_large(line: int, bound: int) -> Row:
    return bad_row(line, "row_too_large", f"the row is larger than {bound} bytes; shorten it")
