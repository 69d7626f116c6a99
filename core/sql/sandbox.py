"""The process in which SQL of unknown origin runs. Knows its pipe and SQLite, nothing of Tuneyard.

Started by `core.sql.process` as a plain script (`python -I -S sandbox.py`), so it imports the
standard library alone and is ready within some 20 ms. Lines of JSON in, lines of JSON out: first
the configuration, then one request a line. What it may do is taken away before the first request:
no writing of files (RLIMIT_FSIZE 0, database opened read-only and immutable), bounded memory and
CPU, an authorizer that lets one reading statement over listed functions pass. One long call inside
SQLite is not interruptible from within; the parent's wall clock kills the process then.

`core.sql.postgres.sandbox` is the same for a server, by this pipe and within these limits.
"""

import json
import os
import resource
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from urllib.parse import quote

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
PROGRESS_STEPS = 10_000  # VM steps between two looks at the clock: well under a millisecond
TABLES_DENIED = ("dbstat", "sqlite_stmt", "sqlite_dbpage", "fts3tokenize")


class Session:
    """One read-only connection with its limits."""

    over = False

    def __init__(self, config: dict) -> None:
        self.config = config
        self.functions = frozenset(config["functions"])
        self.pragmas = frozenset(config["pragmas"]) | {"data_version"}  # FTS5 asks for it itself
        self.denied: str | None = None
        self.deadline = 0.0
        self.connection = self._open(config["database"])

    def _open(self, path: str) -> sqlite3.Connection:
        uri = f"file:{quote(path)}?mode=ro&immutable=1"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None)
        # Three quarters to SQLite's own heap: it then answers "out of memory" in good order, and
        # the rest is left for the result rows in Python.
        connection.execute(f"PRAGMA hard_heap_limit={self.config['memory_bytes'] * 3 // 4}")
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA cell_size_check=ON")
        connection.execute("PRAGMA mmap_size=0")
        for limit, value in (
            (sqlite3.SQLITE_LIMIT_LENGTH, self.config["value_bytes"]),
            (sqlite3.SQLITE_LIMIT_SQL_LENGTH, self.config["sql_bytes"]),
            (sqlite3.SQLITE_LIMIT_ATTACHED, 0),
            (sqlite3.SQLITE_LIMIT_COMPOUND_SELECT, 100),
            (sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000),
            (sqlite3.SQLITE_LIMIT_WORKER_THREADS, 0),
        ):
            connection.setlimit(limit, value)
        # Bad UTF-8 must neither fail nor fall together with other bad text: \xff stays visible.
        connection.text_factory = lambda raw: raw.decode("utf-8", "backslashreplace")
        connection.set_authorizer(self.authorize)
        connection.set_progress_handler(self.late, PROGRESS_STEPS)
        return connection

    def late(self) -> bool:
        return time.monotonic() > self.deadline

    def authorize(self, action, first, second, database, trigger) -> int:
        if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE):
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_READ:
            return self._decide(self._readable(first.lower()), f"table {first}")
        if action == sqlite3.SQLITE_FUNCTION:
            return self._decide(second.lower() in self.functions, f"function {second}")
        if action == sqlite3.SQLITE_PRAGMA:
            return self._decide(first.lower() in self.pragmas, f"PRAGMA {first}")
        # A virtual table (json_each, FTS) declares its columns so when it is first read. A written
        # UPDATE of the table is refused by SQLite itself, and the file is immutable.
        declares = action == sqlite3.SQLITE_UPDATE and first == "sqlite_master"
        return self._decide(declares, f"action {action}")

    def _readable(self, table: str) -> bool:
        if table.startswith("pragma_"):
            return table.removeprefix("pragma_") in self.pragmas
        return table not in TABLES_DENIED

    def _decide(self, allowed: bool, what: str) -> int:
        if allowed:
            return sqlite3.SQLITE_OK
        self.denied = what
        return sqlite3.SQLITE_DENY

    def run(self, request: dict) -> dict:
        """The reply to one statement: its table, or its error."""
        started = time.monotonic()
        self.denied = None
        self.deadline = started + request["seconds"]
        allow_cpu(request["seconds"])
        try:
            reply = self._table(request["sql"])
            if self.late():  # one long call ended before the parent's kill: over time all the same
                raise sqlite3.OperationalError("interrupted")
        except (sqlite3.Error, sqlite3.Warning, MemoryError, ValueError, RecursionError) as error:
            described = {"kind": type(error).__name__, "message": str(error)}
            reply = {"error": described | {"denied": self.denied}}
        return reply | {"seconds": time.monotonic() - started}

    def _table(self, sql: str) -> dict:
        cursor = self.connection.execute(sql)
        try:
            if cursor.description is None:
                return {"columns": None}
            rows, truncated = self._fetch(cursor)
            columns = [column[0] for column in cursor.description]
            return {"columns": columns, "rows": rows, "truncated": truncated}
        finally:
            cursor.close()

    def _fetch(self, cursor: sqlite3.Cursor) -> tuple[list, bool]:
        most_rows, most_bytes = self.config["rows"], self.config["result_bytes"]
        rows: list[tuple] = []
        size = 0
        for row in cursor:
            size += 16 + sum(len(v) if type(v) in (str, bytes) else 8 for v in row)
            if len(rows) == most_rows or size > most_bytes:
                return rows, True
            rows.append(row)
        return rows, False


def allow_cpu(seconds: float) -> None:
    """A backstop for a stopped parent: CPU of this statement, killed by SIGXCPU beyond."""
    used = time.process_time()
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used + seconds + 3), hard))


def die_with(parent: int) -> None:
    """Let the kernel kill this process when the thread that started it is gone (Linux)."""
    if sys.platform == "linux":
        import ctypes

        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:  # it died before the signal was set
        sys.exit(1)


def confine(memory_bytes: int) -> None:
    """Take away writing, forking and memory beyond `memory_bytes` above what is in use now."""
    in_use = 0
    if sys.platform == "linux":
        with open("/proc/self/statm") as statm:
            in_use = int(statm.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (in_use + memory_bytes,) * 2)
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_NPROC):
        resource.setrlimit(limit, (0, 0))


def encode(value: bytes) -> dict:
    """A blob in JSON, the one value that JSON has no form for."""
    return {"hex": value.hex()}


def serve(open_session: Callable) -> None:
    """Read the configuration, open the database, give up what is not needed, answer statements."""
    config = json.loads(sys.stdin.buffer.readline())
    die_with(config["parent"])
    session = open_session(config)
    confine(config["memory_bytes"])
    say({"ready": True})
    for line in sys.stdin.buffer:
        say(session.run(json.loads(line)))
        if session.over:
            return


def say(reply: dict) -> None:
    try:
        text = json.dumps(reply, default=encode, ensure_ascii=False, separators=(",", ":"))
        data = text.encode()
    except MemoryError:
        data = b'{"error":{"kind":"MemoryError"},"seconds":0}'
    sys.stdout.buffer.write(data + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    serve(Session)
