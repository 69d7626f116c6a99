"""What is wrong with a dataset's rows, collected within bounds. Knows no file format and no SQL.

The report, as `Report.to_dict` gives it and the API shows it:

    rows        rows found in the file (blank lines are none)
    accepted    rows without an error; `rows = accepted + rejected`
    rejected    rows with at least one error
    problems    [{"line", "path", "code", "message", "severity"}]: the first 200 errors and of
                each code the first 20 warnings, by line. `line` is 1-based (in Parquet: the row),
                `path` a JSON path into the row; both are null for the file as a whole. One of a
                second file names it in `file`
    counts      {code: n}: every problem is counted, also those that are not listed
    truncated   true where `problems` does not list all
    dropped_lines   the first 1000 lines left out, where bad rows were to be dropped
    duplicates, leaks   see `core.datasets.ledger`

Texts quoted from a file are cut short and free of control characters and lone surrogates, so
that each database can store the report.
"""

import json
import re
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import Any

MAX_ERRORS = 200
MAX_WARNINGS = 20
MAX_LINES = 1000
MAX_MESSAGE = 400
MAX_PATH = 200
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. `message` says what is wrong and what would be right."""

    code: str
    message: str
    line: int | None = None
    path: str | None = "$"
    severity: str = "error"
    file: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "file" or value}


class Report:
    """Counts everything, keeps the first. `file` is what problems are found in from now on, None
    for the one that each dataset has."""

    def __init__(self) -> None:
        self.file: str | None = None
        self.rows = 0
        self.rejected = 0
        self.duplicates: dict[str, Any] = {}
        self.leaks: dict[str, Any] = {}
        self._kept: list[Problem] = []
        self._counts: Counter[str] = Counter()
        self._rejected_lines: list[int] = []
        self._errors = 0

    def add(self, problem: Problem) -> None:
        """Count a problem, and list it while there is room."""
        self._counts[problem.code] += 1
        if problem.severity == "error":
            self._errors += 1
            room = self._errors <= MAX_ERRORS
        else:
            room = self._counts[problem.code] <= MAX_WARNINGS
        if room:
            message = clean(problem.message, limit=MAX_MESSAGE)
            path = clean(problem.path, limit=MAX_PATH) if problem.path and problem.line else None
            file = problem.file or self.file
            self._kept.append(replace(problem, message=message, path=path, file=file))

    def reject(self, line: int) -> None:
        """Count a row as rejected; its problems are added on their own."""
        self.rejected += 1
        if len(self._rejected_lines) < MAX_LINES:
            self._rejected_lines.append(line)

    @property
    def has_errors(self) -> bool:
        return self._errors > 0

    def to_dict(self, *, dropped: bool) -> dict[str, Any]:
        """The report as JSON. `dropped`: rejected rows were left out, and their lines are named."""
        problems = sorted(
            self._kept,
            key=lambda one: (one.file is not None, one.line is not None, one.line or 0),
        )
        return {
            "rows": self.rows,
            "accepted": self.rows - self.rejected,
            "rejected": self.rejected,
            "problems": [problem.to_dict() for problem in problems],
            "counts": dict(sorted(self._counts.items())),
            "truncated": len(problems) < self._counts.total(),
            "dropped_lines": sorted(self._rejected_lines) if dropped else [],
            "duplicates": self.duplicates,
            "leaks": self.leaks,
        }


def clean(text: str, *, limit: int) -> str:
    """`text` without what PostgreSQL or UTF-8 can't store, cut to `limit` characters."""
    text = _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 1] + "…"


def shown(value: Any, *, limit: int = 60) -> str:
    """A value of a file, quoted for a message."""
    if isinstance(value, str):
        value = value[: limit + 1]
    return clean(json.dumps(value, ensure_ascii=False, default=str), limit=limit)


def type_name(value: Any) -> str:
    """JSON's word for a value's type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    for kind, name in ((str, "a string"), (int | float, "a number"), (list, "a list")):
        if isinstance(value, kind):
            return name
    return "an object" if isinstance(value, dict) else type(value).__name__


def step(parent: str, key: str | int) -> str:
    """The JSON path of a member: `$.messages[1].role`, `$["a b"]`."""
    if isinstance(key, int):
        return f"{parent}[{key}]"
    return f"{parent}.{key}" if key.isidentifier() else f"{parent}[{shown(key)}]"
