"""Runs SQL of unknown origin in a process of its own, and says what came of it.

Knows that process, its limits and its restarts; which kind of database is behind it a subclass
knows (`execute.SqlRunner`, `postgres.runner.PostgresRunner`). Knows nothing of gold or models.
"""

import signal
import sys
import threading
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, Self

from core.sql.errors import SqlError
from core.sql.process import Died, SandboxProcess, TooMuch, TooSlow

GRACE = 0.5  # seconds between the query's own clock and the parent's kill
_KEPT_ROWS = 100_000  # of remembered outcomes, each counted as one row more than it has
_KEPT_BYTES = 256 << 20  # of the same, about: few rows may hold as much as `Limits` lets them
_NO_MEMORY = SqlError("memory", "the query needs more memory than it is allowed")
_OVER_TIME = "the query took longer than {:g} s"


@dataclass(frozen=True)
class Limits:
    """What one statement may cost. Sizes in bytes, times in seconds of wall clock."""

    seconds: float = 10.0
    rows: int = 50_000
    memory_bytes: int = 512 << 20
    result_bytes: int = 16 << 20
    value_bytes: int = 8 << 20
    sql_bytes: int = 100_000


@dataclass(frozen=True)
class Outcome:
    """A table, or an error. `truncated`: the rows up to the limit, with error too_many_rows.

    Values are None, bool, int, float, str or bytes. Bytes that are no UTF-8 stand in text as
    `\\xff`.
    """

    columns: list[str]
    rows: list[tuple]
    error: SqlError | None = None
    seconds: float = 0.0
    truncated: bool = False


class Runner(ABC):
    """Owns one process for one database; started at the first statement, restarted when it was
    killed. Thread-safe, one statement at a time. The process dies with the thread in which it was
    started, and is then started anew by the next statement."""

    def __init__(self, limits: Limits | None) -> None:
        self.limits = limits or Limits()
        self._process: SandboxProcess | None = None
        self._lock = threading.Lock()
        self._kept: dict[str, Outcome] = {}
        self._rows_left = _KEPT_ROWS
        self._bytes_left = _KEPT_BYTES

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The process that runs now, if one does."""
        return self._process.pid if self._process and self._process.alive() else None

    def close(self) -> None:
        """Kill the process. May be called twice."""
        with self._lock:
            self._end_process()

    def run(self, sql: str) -> Outcome:
        """Execute exactly one reading statement. Never raises for what the SQL does."""
        text = self._sized(sql) or self._vetted(sql)
        if isinstance(text, SqlError):
            return failed(text)
        with self._lock:
            limit = self.limits.seconds
            try:
                reply = self._ask({"sql": text, "seconds": limit}, seconds=limit + GRACE)
            except TooSlow:
                return failed(SqlError("timeout", _OVER_TIME.format(limit)), seconds=limit)
            except TooMuch:
                return failed(SqlError("too_many_rows", self._too_many()))
            except Died as death:
                return failed(self._cause(death))
        return self._outcome(sql, reply)

    def remembered(self, sql: str) -> Outcome:
        """As `run`, but a statement seen before is not run again: for gold SQL."""
        kept = self._kept.get(sql)
        if kept is not None:
            return kept
        outcome = self.run(sql)
        self._remember(sql, outcome)
        return outcome

    def _remember(self, sql: str, outcome: Outcome) -> None:
        rows = len(outcome.rows) + 1
        if rows > self._rows_left:
            return
        size = sys.getsizeof(sql) + _size_of(outcome)
        if size > self._bytes_left:
            return
        self._rows_left -= rows
        self._bytes_left -= size
        self._kept[sql] = outcome

    # -- what the kinds of databases differ in ---------------------------------------------------

    @abstractmethod
    def _vetted(self, sql: str) -> str | SqlError:
        """What is to be sent for this statement, or why it need not reach the process."""

    @abstractmethod
    def _start(self, limits: dict[str, Any], *, answer_bytes: int) -> SandboxProcess:
        """A process that is ready for statements."""

    @abstractmethod
    def _error(self, told: dict[str, Any], sql: str) -> SqlError:
        """What the process told of a statement that failed."""

    @abstractmethod
    def _cause(self, death: Died) -> SqlError:
        """Why the process ended at a statement."""

    def _ask(self, request: dict[str, Any], *, seconds: float) -> dict[str, Any]:
        try:
            return self._ready().ask(request, seconds=seconds)
        except Died as death:
            if death.signal != signal.SIGKILL:
                raise
        # Killed from outside, maybe only because the thread that had started it ended: once more.
        return self._ready().ask(request, seconds=seconds)

    # --------------------------------------------------------------------------------------------

    def _ready(self) -> SandboxProcess:
        if self._process is None or not self._process.alive():
            self._end_process()
            # JSON may double what the rows take, and escapes of control characters six-fold.
            answer_bytes = 6 * self.limits.result_bytes + (1 << 20)
            self._process = self._start(asdict(self.limits), answer_bytes=answer_bytes)
        return self._process

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process = None

    def _sized(self, sql: str) -> SqlError | None:
        try:
            size = len(sql.encode())
        except UnicodeEncodeError:
            return SqlError("syntax", "the query holds a character that is no valid Unicode")
        if size > self.limits.sql_bytes:
            return SqlError("syntax", f"the query is longer than {self.limits.sql_bytes} bytes")
        return None

    def _outcome(self, sql: str, reply: dict[str, Any]) -> Outcome:
        seconds = reply["seconds"]
        if "error" in reply:
            told = reply["error"]
            error = _NO_MEMORY if told["kind"] == "MemoryError" else self._error(told, sql)
            return failed(error, seconds=seconds)
        if reply["columns"] is None:
            return failed(SqlError("not_a_query", "the statement returns no table"))
        rows = [tuple(map(_decode, row)) for row in reply["rows"]]
        truncated = reply["truncated"]
        error = SqlError("too_many_rows", self._too_many()) if truncated else None
        return Outcome(reply["columns"], rows, error, seconds, truncated)

    def _too_many(self) -> str:
        megabytes = self.limits.result_bytes >> 20
        return f"the result has more than {self.limits.rows} rows or {megabytes} MB"


def failed(error: SqlError, *, seconds: float = 0.0) -> Outcome:
    return Outcome([], [], error, seconds)


def _size_of(outcome: Outcome) -> int:
    """What it takes in memory, about: Python's own part of a small value is most of it."""
    return sum(sys.getsizeof(row) + sum(map(sys.getsizeof, row)) for row in outcome.rows)


def _decode(value: object) -> object:
    return bytes.fromhex(value["hex"]) if type(value) is dict else value
