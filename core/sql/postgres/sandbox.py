"""The process that puts SQL of unknown origin to a PostgreSQL server. Knows libpq and its pipe.

Started by `core.sql.process` as a script, as `core.sql.sandbox` is, whose pipe and limits it
shares. Each statement is one message of the extended protocol, which can't hold several, within a
read-only transaction of its own that is always rolled back. Rows come one by one, so that a result
of any size fills no memory; a connection with rows still in flight is never used again.
"""

import os
import sys
import time
from decimal import Decimal

# An installed package is found without this; a checkout is not.
sys.path.append(os.path.dirname(os.path.abspath(__file__)).rsplit(os.sep, 3)[0])

from psycopg import pq  # noqa: E402

from core.sql.postgres.connect import NoConnection, connect  # noqa: E402
from core.sql.sandbox import say, serve  # noqa: E402

BEGIN = (
    "BEGIN TRANSACTION READ ONLY; SET LOCAL statement_timeout = {milliseconds};"
    " SET LOCAL lock_timeout = {milliseconds}; SET LOCAL standard_conforming_strings = on;"
    " SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = 'postgres';"
    " SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1"
)
BOOL, BYTEA, NUMERIC, PADDED_TEXT = 16, 17, 1700, 1042
WHOLE, FLOAT = (20, 21, 23, 26), (700, 701)
MOST_DIGITS = 300  # a longer number stays text


class Session:
    """One connection. `over`: it is used no more."""

    def __init__(self, config: dict) -> None:
        self.rows, self.result_bytes = config["rows"], config["result_bytes"]
        self.over = False
        self.connection = connect(config["address"])
        # The server then notices within a second that we were killed. Not every system can.
        self.connection.exec_(b"SET client_connection_check_interval = 1000")

    def run(self, request: dict) -> dict:
        started = time.monotonic()
        try:
            reply = self._answer(request["sql"], request["seconds"])
        except MemoryError:
            self.over = True
            reply = {"error": {"kind": "MemoryError"}}
        return reply | {"seconds": time.monotonic() - started}

    def _answer(self, sql: str, seconds: float) -> dict:
        begin = BEGIN.format(milliseconds=int(seconds * 1000))
        begun = self.connection.exec_(begin.encode())
        if begun.status != pq.ExecStatus.COMMAND_OK:
            return self._lost()
        self.connection.send_query_params(sql.encode(), None)
        self.connection.set_single_row_mode()
        reply = self._table()
        if "lost" in reply or self.over:
            return reply
        while self.connection.get_result() is not None:
            pass
        if self.connection.exec_(b"ROLLBACK").status != pq.ExecStatus.COMMAND_OK:
            self.over = True
        return reply

    def _table(self) -> dict:
        rows: list[list] = []
        size = 0
        while (result := self.connection.get_result()) is not None:
            if result.status == pq.ExecStatus.SINGLE_TUPLE:
                raw = [result.get_value(0, place) for place in range(result.nfields)]
                size += 16 + sum(len(value) if value else 8 for value in raw)
                if len(rows) == self.rows or size > self.result_bytes:
                    self.over = True
                    return {"columns": names(result), "rows": rows, "truncated": True}
                rows.append([read(value, result.ftype(i)) for i, value in enumerate(raw)])
            elif result.status == pq.ExecStatus.TUPLES_OK:
                return {"columns": names(result), "rows": rows, "truncated": False}
            elif result.status == pq.ExecStatus.FATAL_ERROR:
                return self._error(result)
            else:
                return {"columns": None}
        return self._lost()

    def _error(self, result: "pq.abc.PGresult") -> dict:
        sqlstate = result.error_field(pq.DiagnosticField.SQLSTATE) or b""
        if self.connection.status == pq.ConnStatus.BAD or sqlstate.startswith(b"57P"):
            return self._lost()
        if not sqlstate:  # libpq's own: it had no memory for the result
            raise MemoryError
        told = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b""
        message = told.decode("utf-8", "replace")
        return {"error": {"kind": "server", "sqlstate": sqlstate.decode(), "message": message}}

    def _lost(self) -> dict:
        self.over = True
        return {"lost": True}


def names(result: "pq.abc.PGresult") -> list[str]:
    found = (result.fname(place) or b"" for place in range(result.nfields))
    return [name.decode("utf-8", "backslashreplace") for name in found]


def read(raw: bytes | None, kind: int) -> object:
    """A value as `core.sql.compare` takes it: a number, a truth, bytes, else the text of the server
    (dates, arrays, JSON …)."""
    if raw is None:
        return None
    text = raw.decode("utf-8", "backslashreplace")
    if kind in WHOLE:
        return int(text)
    if kind in FLOAT:
        return float(text)
    if kind == NUMERIC:
        return number(text)
    if kind == BOOL:
        return text == "t"
    if kind == BYTEA:
        return bytes.fromhex(text[2:])
    return text.rstrip(" ") if kind == PADDED_TEXT else text


def number(text: str) -> int | float | str:
    """10.00 -> 10, so that ids compare exactly whatever their type; 0.1 -> 0.1."""
    if len(text) > MOST_DIGITS:
        return text
    value = Decimal(text)
    if value.is_finite() and value == value.to_integral_value():
        return int(value)
    return float(value)


def open_session(config: dict) -> Session:
    try:
        return Session(config)
    except NoConnection as failure:
        say({"kind": failure.kind, "reason": failure.reason})
        sys.exit(1)


if __name__ == "__main__":
    serve(open_session)
