"""What a model is asked and the answer it shall give; and how a row that gives none is judged."""

from dataclasses import dataclass
from typing import Any

from core.datasets.problems import Problem, shown, type_name

NO_CONTEXT = "[]"


@dataclass(frozen=True, slots=True)
class Example:
    """One thing to learn. `context`: the earlier messages as a JSON list of {role, content}."""

    line: int
    question: str
    input: str
    answer: str
    context: str = NO_CONTEXT
    split: str | None = None


SqlFigures = tuple[str, str, str]
"""Of an answer that is SQL: normalised text, pattern, hardness."""

Kept = tuple[Example, SqlFigures | None, str]
"""An example that the dataset keeps, and its split."""


class BadRow(Exception):
    """Everything that is wrong with one row."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems[0].message)
        self.problems = problems


class Findings:
    """The problems of one row, collected, so that a user mends them all at once."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.problems: list[Problem] = []

    def add(self, code: str, path: str, message: str) -> None:
        self.problems.append(Problem(code, message, self.line, path))

    def text(self, value: Any, path: str, *, optional: bool = False) -> str:
        """`value` if it is a string that can be stored and, unless optional, is not blank."""
        if not isinstance(value, str):
            self.add("wrong_type", path, f"{_found(value)}; a string is right")
        elif not optional and not value.strip():
            self.add("empty_field", path, "this is empty; a text that is not blank is right")
        elif "\x00" in value:
            self.add("nul_character", path, "the character \\u0000 can't be stored; remove it")
        else:
            return value
        return ""

    def check(self) -> None:
        """Raise `BadRow` if anything was found."""
        if self.problems:
            raise BadRow(self.problems)


def _found(value: Any) -> str:
    return "null" if value is None else f"{type_name(value)} ({shown(value)})"
