"""Holds each gold SQL against its database: translated if need be, executed, described.

Knows no files and no splits. An SQL text that was seen before is not judged again.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Protocol

from core.datasets.examples import BadRow, Example, SqlFigures
from core.datasets.problems import Problem, shown
from core.sql.errors import SqlError
from core.sql.extract import extract_sql
from core.sql.hardness import hardness
from core.sql.nearest import advice
from core.sql.normalise import normalise, skeleton
from core.sql.runner import Outcome
from core.sql.schema import Schema
from core.sql.transpile import transpile

KEPT = 20_000  # judged texts that are remembered, if not longer than
KEPT_CHARACTERS = 2000
# A file of statements that all run into the time limit would hold a worker for days.
MAX_TIMEOUTS = 25
_MEND = "mend it so that it runs on the database"
_ADVICE = {
    "unknown_table": "use a table of the database's schema",
    "unknown_column": "use a column of the database's schema",
    "forbidden": "write one SELECT",
    "not_a_query": "a gold SQL is one SELECT",
    "timeout": "make it faster, or leave it out",
    "memory": "make it smaller, or leave it out",
    "too_many_rows": "results are compared row by row: add a LIMIT or aggregate",
}


@dataclass(frozen=True, slots=True)
class Gold:
    """`answer`: what the dataset keeps. `errors` and `warnings`: (code, message)."""

    answer: str
    normal: str
    pattern: str
    hardness: str
    errors: tuple[tuple[str, str], ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()

    @property
    def figures(self) -> SqlFigures:
        return (self.normal, self.pattern, self.hardness)

    def warnings_at(self, line: int, path: str) -> list[Problem]:
        return [Problem(*warning, line, path, "warning") for warning in self.warnings]


class Runner(Protocol):
    """What of `core.sql.runner.Runner` is needed."""

    def run(self, sql: str) -> Outcome: ...


class GoldChecker:
    """Judges answers that are SQL of `source`, for a database of `target` behind `runner`.

    Without a runner nothing is executed. `extract`: the SQL stands in a longer answer. By `schema`,
    if it is known, an error tells which name may have been meant.
    """

    def __init__(
        self,
        *,
        source: str,
        target: str,
        runner: Runner | None = None,
        extract: bool = False,
        schema: Schema | None = None,
    ) -> None:
        self.source = source
        self.target = target
        self.runner = runner
        self.extract = extract
        self.schema = schema or Schema(())
        self.executed = 0
        self.timeouts = 0
        self._seen: OrderedDict[str, Gold] = OrderedDict()

    def judge(self, example: Example, path: str) -> tuple[Example, Gold]:
        """The example as the dataset keeps it, and its SQL. Raises `BadRow` if that fails."""
        gold = self.check(example.answer)
        if gold.errors:
            problems = [Problem(*error, example.line, path) for error in gold.errors]
            raise BadRow([*problems, *gold.warnings_at(example.line, path)])
        return replace(example, answer=gold.answer), gold

    def check(self, answer: str) -> Gold:
        """What is to be said of one answer."""
        if answer in self._seen:
            self._seen.move_to_end(answer)
            return self._seen[answer]
        gold = self._judge(answer)
        if len(answer) <= KEPT_CHARACTERS:
            self._seen[answer] = gold
        if len(self._seen) > KEPT:
            self._seen.popitem(last=False)
        return gold

    def _judge(self, answer: str) -> Gold:
        sql = extract_sql(answer) if self.extract else answer
        if sql is None:
            message = "no SQL in this answer; with a database, each answer is one query on it"
            return _bad(answer, ("sql_not_a_query", message))
        translated, warnings = self._translate(sql)
        if translated != sql and sql not in answer:
            message = (
                "the SQL of this answer is written so that it can't be translated in its place"
            )
            return _bad(answer, ("sql_translation", f"{message}; write it for {self.target}"))
        kept = answer.replace(sql, translated)
        outcome = self._run(translated)
        if outcome is not None and outcome.error is not None:
            return _bad(kept, self._refusal(outcome.error, sql, translated), warnings)
        if outcome is not None and all(value is None for row in outcome.rows for value in row):
            message = "this SQL finds nothing (no rows, or only NULL); is that meant?"
            warnings = (*warnings, ("sql_empty_result", message))
        normal = normalise(translated, self.target)
        if normal is None and self.runner is None:
            message = f"this can't be read as {self.target} SQL; mend it, or name its sql_dialect"
            warnings = (*warnings, ("sql_unreadable", message))
        return Gold(
            answer=kept,
            normal=normal or " ".join(translated.split()),
            pattern=skeleton(translated, self.target),
            hardness=hardness(translated, self.target),
            warnings=warnings,
        )

    def _translate(self, sql: str) -> tuple[str, tuple[tuple[str, str], ...]]:
        """The SQL in the database's dialect, and why it may not mean the same."""
        if self.source == self.target:
            return sql, ()
        done = transpile(sql, self.source, self.target)
        return done.sql, tuple(
            ("sql_translation", f"{problem}; write this SQL for {self.target} yourself")
            for problem in done.problems
        )

    def _run(self, sql: str) -> Outcome | None:
        if self.runner is None:
            return None
        if self.timeouts >= MAX_TIMEOUTS:
            message = f"not executed: {MAX_TIMEOUTS} queries before it took too long"
            return Outcome([], [], SqlError("timeout", message))
        outcome = self.runner.run(sql)
        self.executed += 1
        self.timeouts += outcome.error is not None and outcome.error.klass == "timeout"
        return outcome

    def _refusal(self, error: SqlError, sql: str, translated: str) -> tuple[str, str]:
        right = advice(error, self.schema) or _ADVICE.get(error.klass, _MEND)
        message = f"{error.klass}: {error.message}; {right}"
        if translated != sql:
            message += f" (translated from {self.source}: {shown(translated, limit=150)})"
        return f"sql_{error.klass}", message


def _bad(answer: str, error: tuple[str, str], warnings: tuple[tuple[str, str], ...] = ()) -> Gold:
    return Gold(answer, "", "", "", errors=(error,), warnings=warnings)
