"""Runs SQL of unknown origin on a private copy of a SQLite file. Knows SQLite's process alone."""

import re
import shutil
import signal
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from core.errors import InvalidInput
from core.sql.errors import SqlError, classify
from core.sql.functions import SQLITE_FUNCTIONS
from core.sql.process import Died, SandboxProcess
from core.sql.runner import Limits, Outcome, Runner

__all__ = ["Limits", "Outcome", "SqlRunner"]

_SCRIPT = Path(__file__).with_name("sandbox.py")
# printf() pads for seconds before it finds its result too long, and answers NULL then. Spotted in
# the text: what hides it from here still meets the clock and the memory limit.
_FORMAT = re.compile(r"\b(?:printf|format)\s*\(\s*'([^']*)", re.IGNORECASE)
_PADDING = re.compile(r"%[-+ #,!]*\d*\.?(?:\*|\d{5})")


class SqlRunner(Runner):
    """Queries of one SQLite file.

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
        super().__init__(limits)
        self._pragmas = sorted(pragmas)
        if not Path(database).is_file():
            raise InvalidInput(f"there is no database file {Path(database).name}", param="database")
        self._folder = tempfile.TemporaryDirectory(prefix="tuneyard-sql-", dir=scratch)
        self._copy = Path(self._folder.name) / "copy.sqlite"
        shutil.copyfile(database, self._copy)
        self._copy.chmod(0o400)

    def close(self) -> None:
        """Kill the process and remove the copy. May be called twice."""
        super().close()
        self._folder.cleanup()

    def _vetted(self, sql: str) -> str | SqlError:
        if any(map(_PADDING.search, _FORMAT.findall(sql))):
            return SqlError("memory", "printf() with a width of its arguments, or of many digits")
        return sql

    def _start(self, limits: dict[str, Any], *, answer_bytes: int) -> SandboxProcess:
        config = limits | {
            "database": str(self._copy.absolute()),
            "functions": sorted(SQLITE_FUNCTIONS),
            "pragmas": self._pragmas,
        }
        # Without site-packages it is ready within some 20 ms.
        return SandboxProcess(_SCRIPT, config, answer_bytes=answer_bytes, options=("-S",))

    def _error(self, told: dict[str, Any], sql: str) -> SqlError:
        return classify(**told, sql=sql)

    def _cause(self, death: Died) -> SqlError:
        if death.signal == signal.SIGXCPU:
            return SqlError("timeout", "the query took more CPU time than it is allowed")
        if death.signal in (signal.SIGKILL, signal.SIGABRT):
            return SqlError("memory", "the query's process was killed, most likely for its memory")
        return SqlError("runtime", f"the query crashed SQLite (signal {death.signal})")
