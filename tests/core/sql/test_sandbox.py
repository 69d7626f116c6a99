"""Row 21 of RELIABILITY: what generated SQL tries, what becomes of it, and what is left after."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.sql.execute import Limits, SqlRunner

_SECONDS, _MEMORY = 1.0, 256 << 20
_COUNTING = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "

_SIXTY = ", ".join(f"customers c{i}" for i in range(60))
_PADDED = "printf('%' || '.*c', {}, 'x')"  # hidden from the look at the text


@pytest.fixture(scope="module")
def confined(shop):
    with SqlRunner(shop, limits=Limits(seconds=_SECONDS, memory_bytes=_MEMORY)) as runner:
        yield runner


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE customers",
        "DELETE FROM customers",
        "UPDATE customers SET name = 'x'",
        "INSERT INTO customers (name) VALUES ('x')",
        "INSERT INTO customers (name) SELECT name FROM customers",
        "WITH x AS (SELECT 1) DELETE FROM customers",
        "CREATE TABLE t (a)",
        "CREATE TEMP TABLE t (a)",
        "CREATE TEMP VIEW v AS SELECT 1",
        "ALTER TABLE customers RENAME TO c",
        "UPDATE sqlite_master SET sql = 'x'",
        "ATTACH '{outside}' AS other",
        "ATTACH DATABASE 'file:{outside}?mode=rwc' AS other",
        "DETACH main",
        "VACUUM",
        "VACUUM INTO '{outside}'",
        "PRAGMA user_version = 7",
        "PRAGMA writable_schema = ON",
        "PRAGMA hard_heap_limit = 0",
        "PRAGMA table_info(customers)",
        "SELECT * FROM pragma_table_info('customers')",
        "SELECT * FROM dbstat",
        "SELECT load_extension('{outside}')",
        "SELECT fts3_tokenizer('simple')",
        "SELECT hex(randomblob(400000000))",
        "SELECT zeroblob(1000000000)",
        "SELECT random()",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE customers",
        "DROP TABLE customers; SELECT 1",
        "BEGIN IMMEDIATE",
        "SAVEPOINT s",
        "REINDEX",
        "ANALYZE",
        "EXPLAIN DELETE FROM customers",
    ],
)
def test_all_but_one_reading_statement_is_forbidden(confined, shop, tmp_path, sql):
    before = _fingerprint(shop)
    outcome = confined.run(sql.format(outside=tmp_path / "outside"))
    assert outcome.error is not None and outcome.error.klass == "forbidden", outcome
    assert _fingerprint(shop) == before
    assert list(tmp_path.iterdir()) == []
    assert confined.run("SELECT count(*) FROM customers").rows == [(5,)]


@pytest.mark.parametrize(
    ("sql", "classes"),
    [
        (_COUNTING + "SELECT count(*) FROM c", ["timeout"]),
        (_COUNTING + "SELECT x FROM c ORDER BY x DESC LIMIT 1", ["timeout", "memory"]),
        (_COUNTING + "SELECT x FROM c LIMIT 10000000", ["too_many_rows"]),
        (_COUNTING + f"SELECT {_PADDED.format(1_000_000)} FROM c LIMIT 1000", ["too_many_rows"]),
        (_COUNTING + "SELECT json_group_array(x) FROM c", ["timeout", "memory"]),
        (_COUNTING + "SELECT sum(x) OVER (ORDER BY x) FROM c", ["timeout", "memory"]),
        ("SELECT printf('%.*c', 900000000, 'x')", ["memory"]),
        ("SELECT printf('%900000000d', 1)", ["memory"]),
        ("SELECT format('%0900000000.2f', 1)", ["memory"]),
        # One call inside SQLite, deaf to its progress handler: only the parent's kill ends it.
        (f"SELECT {', '.join([_PADDED.format(900_000_000)] * 9)}", ["timeout"]),
        (
            f"SELECT instr({_PADDED.format(8_000_000)}, {_PADDED.format(4_000_000)} || 'b')",
            ["timeout"],
        ),
        (
            f"SELECT replace(replace({_PADDED.format(8_000_000)}, 'x', 'yyyy'), 'y', 'zz')",
            ["memory"],
        ),
        (f"SELECT * FROM {_SIXTY}", ["too_many_rows", "timeout"]),
        (f"SELECT count(*) FROM {_SIXTY}", ["timeout"]),
    ],
)
def test_a_bomb_is_stopped_in_time_and_in_bounded_memory(confined, shop, sql, classes):
    before = _fingerprint(shop)
    confined.run("SELECT 1")
    pid = confined.pid
    started = time.monotonic()
    outcome = confined.run(sql)
    assert time.monotonic() - started < _SECONDS + 3  # the limit, half a second, and a slow machine
    assert outcome.error is not None and outcome.error.klass in classes, outcome.error
    assert _peak_bytes(pid) < _MEMORY + (64 << 20)
    assert _fingerprint(shop) == before
    assert confined.run("SELECT count(*) FROM customers").rows == [(5,)]


def test_the_kernel_holds_the_limits_too(confined):
    confined.run("SELECT 1")
    limits = Path(f"/proc/{confined.pid}/limits").read_text()
    assert re.search(r"Max file size\s+0\s+0", limits)
    space = int(re.search(r"Max address space\s+(\d+)", limits).group(1))
    assert space < _MEMORY + (128 << 20)
    assert re.search(r"Max cpu time\s+\d+\s", limits)


def test_nothing_of_the_parents_environment_reaches_it(shop, monkeypatch):
    monkeypatch.setenv("TUNEYARD_CANARY", "canary-4711")
    with SqlRunner(shop) as runner:
        runner.run("SELECT 1")
        folder = Path(f"/proc/{runner.pid}")
        assert b"canary-4711" not in (folder / "environ").read_bytes()
        assert b"TUNEYARD" not in (folder / "environ").read_bytes()


def test_it_dies_with_its_parent_in_the_middle_of_a_query(shop, tmp_path):
    script = (
        "import sys, threading; from pathlib import Path\n"
        "from core.sql.execute import Limits, SqlRunner\n"
        "limits, scratch = Limits(seconds=60), Path(sys.argv[2])\n"
        "runner = SqlRunner(Path(sys.argv[1]), limits=limits, scratch=scratch)\n"
        "runner.run('SELECT 1'); print(runner.pid, flush=True)\n"
        f"runner.run({_COUNTING + 'SELECT count(*) FROM c'!r})\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(shop), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    child = int(parent.stdout.readline())
    time.sleep(0.2)  # the endless query has begun, or will have: either way it must end
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 5
    while _running(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _running(child)


def test_a_hostile_view_costs_its_time_limit_and_no_more(tmp_path, make_database):
    path = make_database(
        tmp_path / "hostile.sqlite",
        f"CREATE TABLE t (a); CREATE VIEW v AS {_COUNTING} SELECT count(*) AS n FROM c;"
        "CREATE VIEW w AS SELECT load_extension('x') AS n;",
    )
    with SqlRunner(path, limits=Limits(seconds=0.5)) as runner:
        assert runner.run("SELECT * FROM v").error.klass == "timeout"
        assert runner.run("SELECT * FROM w").error.klass == "forbidden"


def test_full_text_tables_can_be_read(tmp_path, make_database):
    path = make_database(
        tmp_path / "text.sqlite",
        "CREATE VIRTUAL TABLE notes USING fts5(body); INSERT INTO notes VALUES ('red apples');",
    )
    with SqlRunner(path) as runner:
        assert runner.run("SELECT body FROM notes WHERE notes MATCH 'apples'").rows == [
            ("red apples",)
        ]


def test_a_database_left_in_wal_mode_can_be_read(tmp_path, make_database):
    path = make_database(
        tmp_path / "wal.sqlite",
        "PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1);",
    )
    with SqlRunner(path) as runner:
        assert runner.run("SELECT a FROM t").rows == [(1,)]


def test_a_file_that_is_no_database_is_an_error_not_a_crash(tmp_path):
    path = tmp_path / "text.sqlite"
    path.write_text("hello " * 1000)
    with SqlRunner(path) as runner:
        assert runner.run("SELECT * FROM t").error.klass == "runtime"


def _fingerprint(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _peak_bytes(pid: int) -> int:
    """Most memory the process ever had; 0 if it was killed (then the kernel's limit held it)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found.group(1)) * 1024 if found else 0


def _running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
