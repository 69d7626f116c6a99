"""Runs SQL of unknown origin on a private copy of a SQLite file, and says what came of it.

Knows the sandbox process, its limits and its restarts; knows nothing of gold, models or schemas.
"""

import re
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from core.errors import InvalidInput
from core.sql.errors import SqlError, classify
from core.sql.functions import SQLITE_FUNCTIONS
from core.sql.process import Died, SandboxProcess, TooMuch, TooSlow

# printf() pads for seconds before it finds its result too long, and answers NULL then. Spotted in
# the text: what hides it from here still meets the clock and the memory limit.
_FORMAT = re.compile(r"\b(?:printf|format)\s*\(\s*'([^']*)", re.IGNORECASE)
_PADDING = re.compile(r"%[-+ #,!]*\d*\.?(?:\*|\d{5})")
_GRACE = 0.5  # seconds between the query's own clock and the parent's kill
_KEPT_ROWS = 100_000  # of remembered outcomes, each counted as one row more than it has


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

    Values are None, int, float, str or bytes. Bytes that are no UTF-8 stand in text as `\\xff`.
    """

    columns: list[str]
    rows: list[tuple]
    error: SqlError | None = None
    seconds: float = 0.0
    truncated: bool = False


class SqlRunner:
    """Owns one sandboxed process for one database; started at the first statement, restarted
    when it was killed. Thread-safe, one statement at a time. The process dies with the thread in
    which it was started, and is then started anew by the next statement.

    `scratch` is where the private copy goes (default: the system's temporary folder). `pragmas`
    is for introspection alone.
    """

    def __init__(
        self,
        database: Path,
        *,
        limits: Limits | None = None,
        scratch: Path | None = None,
        pragmas: Iterable[str] = (),
    ) -> None:
        self.limits = limits or Limits()
        self._pragmas = sorted(pragmas)
        self._process: SandboxProcess | None = None
        self._lock = threading.Lock()
        self._kept: dict[str, Outcome] = {}
        self._room = _KEPT_ROWS
        if not Path(database).is_file():
            raise InvalidInput(f"there is no database file {Path(database).name}", param="database")
        self._folder = tempfile.TemporaryDirectory(prefix="tuneyard-sql-", dir=scratch)
        self._copy = Path(self._folder.name) / "copy.sqlite"
        shutil.copyfile(database, self._copy)
        self._copy.chmod(0o400)

    def __enter__(self) -> "SqlRunner":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The process that runs now, if one does."""
        return self._process.pid if self._process and self._process.alive() else None

    def close(self) -> None:
        """Kill the process and remove the copy. May be called twice."""
        with self._lock:
            if self._process is not None:
                self._process.kill()
                self._process = None
            self._folder.cleanup()

    def run(self, sql: str) -> Outcome:
        """Execute exactly one reading statement. Never raises for what the SQL does."""
        if refused := self._refused(sql):
            return _failed(refused)
        with self._lock:
            limit = self.limits.seconds
            try:
                reply = self._ask(sql, limit)
            except TooSlow:
                return _failed(SqlError("timeout", _OVER_TIME.format(limit)), seconds=limit)
            except TooMuch:
                return _failed(SqlError("too_many_rows", self._too_many()))
            except Died as death:
                return _failed(_cause(death))
        return self._outcome(sql, reply)

    def remembered(self, sql: str) -> Outcome:
        """As `run`, but a statement seen before is not run again: for gold SQL."""
        kept = self._kept.get(sql)
        if kept is not None:
            return kept
        outcome = self.run(sql)
        if self._room > len(outcome.rows):
            self._room -= len(outcome.rows) + 1
            self._kept[sql] = outcome
        return outcome

    def _ask(self, sql: str, limit: float) -> dict:
        request = {"sql": sql, "seconds": limit}
        try:
            return self._ready().ask(request, seconds=limit + _GRACE)
        except Died as death:
            if death.signal != signal.SIGKILL:
                raise
        # Killed from outside, maybe only because the thread that had started it ended: once more.
        return self._ready().ask(request, seconds=limit + _GRACE)

    def _ready(self) -> SandboxProcess:
        if self._process is None or not self._process.alive():
            if self._process is not None:
                self._process.kill()
            config = asdict(self.limits) | {
                "database": str(self._copy.absolute()),
                "functions": sorted(SQLITE_FUNCTIONS),
                "pragmas": self._pragmas,
            }
            # JSON may double what the rows take, and escapes of control characters six-fold.
            answer_bytes = 6 * self.limits.result_bytes + (1 << 20)
            self._process = SandboxProcess(config, answer_bytes=answer_bytes)
        return self._process

    def _refused(self, sql: str) -> SqlError | None:
        """What need not reach the process to be refused."""
        try:
            size = len(sql.encode())
        except UnicodeEncodeError:
            return SqlError("syntax", "the query holds a character that is no valid Unicode")
        if size > self.limits.sql_bytes:
            return SqlError("syntax", f"the query is longer than {self.limits.sql_bytes} bytes")
        if any(map(_PADDING.search, _FORMAT.findall(sql))):
            return SqlError("memory", "printf() with a width of its arguments, or of many digits")
        return None

    def _outcome(self, sql: str, reply: dict) -> Outcome:
        seconds = reply["seconds"]
        if "error" in reply:
            return _failed(classify(**reply["error"], sql=sql), seconds=seconds)
        if reply["columns"] is None:
            return _failed(SqlError("not_a_query", "the statement returns no table"))
        rows = [tuple(map(_decode, row)) for row in reply["rows"]]
        truncated = reply["truncated"]
        error = SqlError("too_many_rows", self._too_many()) if truncated else None
        return Outcome(reply["columns"], rows, error, seconds, truncated)

    def _too_many(self) -> str:
        megabytes = self.limits.result_bytes >> 20
        return f"the result has more than {self.limits.rows} rows or {megabytes} MB"


_OVER_TIME = "the query took longer than {:g} s"


def _failed(error: SqlError, *, seconds: float = 0.0) -> Outcome:
    return Outcome([], [], error, seconds)


def _cause(death: Died) -> SqlError:
    if death.signal == signal.SIGXCPU:
        return SqlError("timeout", "the query took more CPU time than it is allowed")
    if death.signal in (signal.SIGKILL, signal.SIGABRT):
        return SqlError("memory", "the query's process was killed, most likely for its memory")
    return SqlError("runtime", f"the query crashed SQLite (signal {death.signal})")


def _decode(value: object) -> object:
    return bytes.fromhex(value["hex"]) if type(value) is dict else value
