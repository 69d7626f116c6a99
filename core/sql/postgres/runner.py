"""Runs SQL of unknown origin on a PostgreSQL server. Knows its process and what it may be asked.

The password reaches that process by its pipe; no message holds it.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.errors import TuneyardError, Unavailable, WrongState
from core.sql.errors import SqlError
from core.sql.postgres.dsn import Address, read_dsn
from core.sql.postgres.errors import classify
from core.sql.postgres.guard import vet
from core.sql.process import Died, SandboxProcess
from core.sql.runner import Limits, Runner

_SCRIPT = Path(__file__).with_name("sandbox.py")
AWAY, REFUSED = "database_away", "database_refused"


class PostgresRunner(Runner):
    """Queries of the database behind a DSN.

    Where it can't be reached: `Unavailable` if it may come back, `WrongState` if it lets us in no
    more, from `run` too. `trusted`: statements of our own, on the catalogue too.
    """

    def __init__(self, dsn: str, *, limits: Limits | None = None, trusted: bool = False) -> None:
        super().__init__(limits)
        self._address = read_dsn(dsn)
        self._trusted = trusted

    def _vetted(self, sql: str) -> str | SqlError:
        return sql if self._trusted else vet(sql)

    def _start(self, limits: dict[str, Any], *, answer_bytes: int) -> SandboxProcess:
        config = limits | {"address": asdict(self._address)}
        process = SandboxProcess(_SCRIPT, config, answer_bytes=answer_bytes)
        if "ready" not in process.greeting:
            process.kill()
            raise _unreached(self._address, **process.greeting)
        return process

    def _ask(self, request: dict[str, Any], *, seconds: float) -> dict[str, Any]:
        """A connection may have been cut while nothing was asked: a second one tells. If that is
        lost as well while the server still lets us in, it is the statement that ends it."""
        for _ in range(2):
            try:
                reply = self._ready().ask(request, seconds=seconds)
            except Died:
                continue
            if "lost" not in reply:
                return reply
            self._end_process()
        self._ready()
        raise Died(0)

    def _error(self, told: dict[str, Any], sql: str) -> SqlError:
        return classify(sqlstate=told["sqlstate"], message=told["message"])

    def _cause(self, death: Died) -> SqlError:
        return SqlError("runtime", "the query ended its connection to the server, twice")


def _unreached(address: Address, *, kind: str, reason: str) -> TuneyardError:
    if kind == "away":
        message = f"The database {address.place} does not answer: {reason}."
        return Unavailable(message, code=AWAY)
    message = (
        f"The database {address.place} does not let '{address.user}' in: {reason}. Mend that "
        "there, or refresh the database with the right DSN."
    )
    return WrongState(message, code=REFUSED)
