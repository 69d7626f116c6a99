"""An engine for PostgreSQL of which no user waits for ever. Knows no table and no settings.

Who may be silent, and who notices: a server that works too long (`statement_timeout`), a machine
that is gone (keepalives while waiting, `tcp_user_timeout` while sending), a peer whose kernel lives
while it says nothing, such as a frozen server or a proxy whose backend is gone (`Patient`), and a
client that is frozen or gone within a transaction, whose row locks would stop all others
(`idle_in_transaction_session_timeout`).
"""

from typing import Any

import psycopg
from sqlalchemy import Engine, create_engine, event

# The server's own answer that a statement took too long comes first, if there is a server.
ANSWER_SECONDS = 5

TCP = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


class Patient(psycopg.Connection):
    """A connection that is closed when the server says nothing for too long."""

    patience: float | None = None

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        if timeout is not None or self.patience is None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.patience)
        except psycopg.errors._WaitTimeout:
            # Closed, so that whoever has it takes a new one: an answer may still come.
            self.close()
            raise psycopg.OperationalError(
                f"the database said nothing for {self.patience:g} s"
            ) from None


def make_postgres_engine(url: str, statement_seconds: float | None, **options: Any) -> Engine:
    """An engine whose statements end after `statement_seconds`; None: as long as they take."""
    if url.startswith("postgresql://"):
        url = url.replace("postgresql://", "postgresql+psycopg://", 1)
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_size=10,
        max_overflow=20,
        connect_args=TCP,
        # An error is logged, and among the values of a statement may be a secret.
        hide_parameters=True,
        **options,
    )

    def connect(dialect: Any, record: Any, arguments: list[Any], named: dict[str, Any]) -> Any:
        connection = Patient.connect(*arguments, **named)
        if statement_seconds is not None:
            connection.patience = statement_seconds + ANSWER_SECONDS
            _limit(connection, statement_seconds)
        return connection

    event.listen(engine, "do_connect", connect)
    return engine


def _limit(connection: Patient, seconds: float) -> None:
    statement = round(seconds * 1000)
    connection.autocommit = True
    connection.execute(
        "SELECT set_config('statement_timeout', %s, false),"
        " set_config('idle_in_transaction_session_timeout', %s, false)",
        (str(statement), str(2 * statement)),
    )
    connection.autocommit = False
