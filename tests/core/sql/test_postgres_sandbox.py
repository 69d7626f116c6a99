"""Row 21 of RELIABILITY on PostgreSQL: what generated SQL tries, and what is left after.

The guard is passed by here (`trusted`), as if something had got through it: what stands behind it
must hold alone. What the guard itself refuses is in `test_postgres_guard.py`.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest

from core.errors import Unavailable, WrongState
from core.sql.postgres.runner import PostgresRunner
from core.sql.runner import Limits
from tests.core.sql.postgres_shop import build
from tests.targets import PASSWORD, Target, TargetServer, target_postgres

SECONDS, MEMORY = 1.0, 256 << 20
ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
FINGERPRINT = "SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM customers t"
BACKENDS = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader_{}'"


@pytest.fixture(scope="module")
def target(target_server: TargetServer) -> Target:
    return build(target_server)


@pytest.fixture(scope="module")
def runner(target: Target):
    with PostgresRunner(target.dsn, limits=Limits(seconds=10)) as runner:
        yield runner


@pytest.fixture(scope="module")
def unguarded(target: Target):
    limits = Limits(seconds=SECONDS, memory_bytes=MEMORY)
    with PostgresRunner(target.dsn, limits=limits, trusted=True) as runner:
        yield runner


@pytest.mark.parametrize(
    ("sql", "classes"),
    [
        ("DELETE FROM customers", ["forbidden"]),
        ("DROP TABLE customers", ["forbidden"]),
        ("CREATE TABLE t (a int)", ["forbidden"]),
        ("CREATE TEMP TABLE t (a int)", ["forbidden"]),
        ("WITH x AS (DELETE FROM customers RETURNING *) SELECT * FROM x", ["forbidden"]),
        ("SELECT 1; SELECT 2", ["syntax"]),  # one message holds one statement
        ("COMMIT; DELETE FROM customers", ["syntax"]),
        ("SELECT * FROM customers FOR UPDATE", ["forbidden"]),
        ("SELECT lo_create(4711)", ["forbidden"]),
        ("SELECT pg_read_file('/etc/passwd')", ["forbidden"]),
        ("SELECT * FROM pg_authid", ["forbidden"]),
        ("SELECT word FROM secrets", ["forbidden"]),
        ("COPY customers TO PROGRAM 'id'", ["forbidden"]),
        ("SELECT pg_sleep(1000)", ["timeout"]),
        ("SELECT pg_sleep(0.4), pg_sleep(0.4), pg_sleep(0.4)", ["timeout"]),
        (ENDLESS + "SELECT count(*) FROM c", ["timeout"]),
        (ENDLESS + "SELECT x FROM c LIMIT 10000000", ["too_many_rows"]),
        (ENDLESS + "SELECT repeat('x', 1000000) FROM c", ["too_many_rows"]),
        ("SELECT repeat('x', 300000000)", ["memory", "timeout"]),
        ("SELECT repeat('x', 2000000000)", ["memory"]),
    ],
)
def test_whatever_gets_past_the_guard_changes_nothing_and_ends_in_time_and_memory(
    unguarded: PostgresRunner, target: Target, sql: str, classes: list[str]
) -> None:
    before = target.value(FINGERPRINT)
    unguarded.run("SELECT 1")
    pid = unguarded.pid
    started = time.monotonic()
    outcome = unguarded.run(sql)
    assert time.monotonic() - started < SECONDS + 3
    assert outcome.error is not None and outcome.error.klass in classes, outcome.error
    assert peak_bytes(pid) < MEMORY + (128 << 20)
    assert target.value(FINGERPRINT) == before
    assert unguarded.run("SELECT count(*) FROM customers").rows == [(5,)]


@pytest.mark.parametrize(
    "item",
    [
        "customers AS x",
        "(SELECT 1000) AS x",
        "(SELECT g FROM generate_series(1000, 1000) AS g) AS x",
        "(VALUES (1000)) AS x",
        "LATERAL (SELECT 1000) AS x",
        "(generate_series(1000, 1000) AS y CROSS JOIN customers) AS x",
    ],
)
def test_only_the_row_of_a_function_can_be_given_to_a_function_of_values(
    runner: PostgresRunner, unguarded: PostgresRunner, item: str
) -> None:
    """What the guard counts on: a row of a table or a sub-query is no number."""
    of_a_function = "SELECT x.pg_sleep FROM generate_series(1000, 1000) AS x"
    assert runner.run(of_a_function).error.klass == "forbidden"
    assert unguarded.run(of_a_function).error.klass == "timeout"
    outcome = runner.run(f"SELECT x.pg_sleep FROM {item}")
    assert outcome.error is not None and outcome.error.klass == "unknown_column", outcome.error
    outcome = runner.run(f"WITH c AS (SELECT * FROM {item}) SELECT c.pg_sleep FROM c")
    assert outcome.error is not None and outcome.error.klass == "unknown_column", outcome.error


@pytest.mark.parametrize(
    ("sql", "check", "left"),
    [
        ("SELECT set_config('statement_timeout', '0', false)", "statement_timeout", "1s"),
        ("SET statement_timeout = 0", "statement_timeout", "1s"),
        ("SET TRANSACTION READ WRITE", "transaction_read_only", "on"),
        ("SELECT set_config('transaction_read_only', 'off', false)", "transaction_read_only", "on"),
    ],
)
def test_a_setting_lives_no_longer_than_its_statement(
    unguarded: PostgresRunner, sql: str, check: str, left: str
) -> None:
    unguarded.run(sql)
    assert unguarded.run(f"SELECT current_setting('{check}')").rows == [(left,)]


def test_a_clock_that_was_switched_off_is_not_the_only_one(unguarded: PostgresRunner) -> None:
    sql = "SELECT set_config('statement_timeout', '0', true), pg_sleep(1000)"
    started = time.monotonic()
    assert unguarded.run(sql).error.klass == "timeout"
    assert time.monotonic() - started < SECONDS + 3


def test_the_server_stops_working_when_the_client_was_killed(
    unguarded: PostgresRunner, target: Target
) -> None:
    """A DO block that catches the cancel: deaf to `statement_timeout`, ended by the lost client."""
    deaf = (
        "DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(1000); EXCEPTION WHEN query_canceled THEN NULL;"
        " END; END LOOP; END $$"
    )
    started = time.monotonic()
    assert unguarded.run(deaf).error.klass == "timeout"
    assert time.monotonic() - started < SECONDS + 3
    deadline = time.monotonic() + 10
    active = BACKENDS.format(target.name) + " AND state = 'active'"
    while target.value(active) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert target.value(active) == 0


def test_locks_of_a_statement_are_gone_with_its_process(target: Target) -> None:
    with PostgresRunner(target.dsn, trusted=True) as runner:
        runner.run("SELECT pg_advisory_lock(4711)")
    deadline = time.monotonic() + 10
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711"
    while target.value(held) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert target.value(held) == 0


def test_every_kind_of_value_comes_as_the_comparison_takes_it(runner: PostgresRunner) -> None:
    values = {
        "NULL": None,
        "true": True,
        "9223372036854775807": 2**63 - 1,
        "10.00::numeric": 10,
        "0.25::numeric": 0.25,
        "123456789012345678901234567890": 123456789012345678901234567890,
        "'NaN'::float8 = 'NaN'::float8": True,
        "'Infinity'::float8": float("inf"),
        "0.1::real": 0.1,
        "'\\x00ff'::bytea": b"\x00\xff",
        "date '2024-02-01'": "2024-02-01",
        "timestamp '2024-02-01 10:00'": "2024-02-01 10:00:00",
        "interval '1 day 2 hours'": "1 day 02:00:00",
        "ARRAY[1, NULL, 2]": "{1,NULL,2}",
        "ARRAY['客户', 'a b']": '{客户,"a b"}',
        '\'{"b": 1, "a": [2]}\'::jsonb': '{"a": [2], "b": 1}',
        "'a'::char(5)": "a",
        "'客户：“李雷”'": "客户：“李雷”",
        "ROW(1, 'x')": "(1,x)",
    }
    outcome = runner.run(f"SELECT {', '.join(values)}")
    assert outcome.error is None, outcome.error
    assert list(outcome.rows[0]) == list(values.values())
    assert [type(value) for value in outcome.rows[0]] == [type(v) for v in values.values()]


def test_dates_beyond_what_python_knows_are_no_error(runner: PostgresRunner) -> None:
    sql = "SELECT 'infinity'::date, '0044-03-15 BC'::date, '20000-01-01'::date"
    assert runner.run(sql).rows == [("infinity", "0044-03-15 BC", "20000-01-01")]


@pytest.mark.parametrize(
    ("sql", "klass"),
    [
        ("SELECT name FROM customers WHERE", "syntax"),
        ("SELECT * FROM missing", "unknown_table"),
        ("SELECT * FROM nowhere.customers", "unknown_table"),
        ("SELECT x.name FROM customers", "unknown_table"),
        ("SELECT missing FROM customers", "unknown_column"),
        ("SELECT id FROM customers, regions", "unknown_column"),
        ("SELECT 1 / 0", "runtime"),
        ("SELECT 'x'::int", "runtime"),
        ("SELECT name = 1 FROM customers", "runtime"),
        ("SELECT $1", "syntax"),
        ("SELECT word FROM secrets", "forbidden"),
        ("SELECT name FROM customers GROUP BY level", "runtime"),
        ("", "not_a_query"),
    ],
)
def test_a_failure_has_the_class_of_its_cause(runner: PostgresRunner, sql: str, klass: str) -> None:
    outcome = runner.run(sql)
    assert outcome.error is not None and outcome.error.klass == klass, outcome.error
    assert outcome.error.message and outcome.rows == []


def test_too_many_rows_are_cut_and_said(target: Target) -> None:
    with PostgresRunner(target.dsn, limits=Limits(rows=3)) as runner:
        outcome = runner.run("SELECT id FROM customers ORDER BY id")
        assert outcome.truncated and outcome.error.klass == "too_many_rows"
        assert outcome.rows == [(1,), (2,), (3,)]
        assert runner.run("SELECT id FROM customers LIMIT 3").error is None


def test_one_process_and_one_connection_serve_many_statements(
    runner: PostgresRunner, target: Target
) -> None:
    runner.run("SELECT 1")
    pid, backends = runner.pid, target.value(BACKENDS.format(target.name))
    for number in range(200):
        assert runner.run(f"SELECT {number}").rows == [(number,)]
        assert runner.run("SELECT 1 / 0").error.klass == "runtime"
    assert runner.pid == pid
    assert target.value(BACKENDS.format(target.name)) == backends


def test_a_cut_connection_and_a_killed_process_are_replaced_without_a_word(target: Target) -> None:
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = {}"
    with PostgresRunner(target.dsn, trusted=True) as runner:
        backend = runner.run("SELECT pg_backend_pid()").rows[0][0]
        target.execute(cut.format(backend))
        assert runner.run("SELECT 2").rows == [(2,)]
        os.kill(runner.pid, signal.SIGKILL)
        assert runner.run("SELECT 3").rows == [(3,)]


def test_a_statement_that_ends_its_connection_is_its_own_fault(target: Target) -> None:
    with PostgresRunner(target.dsn, trusted=True) as runner:
        outcome = runner.run("SELECT pg_terminate_backend(pg_backend_pid())")
        assert outcome.error.klass == "runtime"
        assert runner.run("SELECT 1").rows == [(1,)]


def test_a_server_that_goes_away_is_unavailable_and_comes_back() -> None:
    with target_postgres() as own:
        target = own.new_database()
        with PostgresRunner(target.dsn) as runner:
            assert runner.run("SELECT 1").rows == [(1,)]
            own.server.stop()
            with pytest.raises(Unavailable, match="nothing listens there") as away:
                runner.run("SELECT 1")
            own.server.start()
            assert runner.run("SELECT 1").rows == [(1,)]
            target.execute(f"ALTER ROLE reader_{target.name} PASSWORD 'other'")
            target.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                f" WHERE usename = 'reader_{target.name}'"
            )
            with pytest.raises(WrongState, match="user or the password is not right") as refused:
                runner.run("SELECT 1")
    for said in (away, refused):
        assert PASSWORD not in said.value.message
        assert said.value.__cause__ is None


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (("reader_", "nobody_"), WrongState, "user or the password"),
        (("127.0.0.1", "169.254.169.254"), WrongState, "link-local"),
        (("127.0.0.1", "[fe80::1]"), WrongState, "link-local"),
        (("127.0.0.1", "[::ffff:169.254.169.254]"), WrongState, "link-local"),
        (("127.0.0.1", "0.0.0.0"), WrongState, "reserved"),
        (("127.0.0.1", "224.0.0.1"), WrongState, "multicast"),
        (("127.0.0.1", "no-such-host.invalid"), Unavailable, "not known"),
        (("/test_", "/never_"), WrongState, "no database of that name"),
        ((":{port}/", ":1/"), Unavailable, "nothing listens"),
        (("{end}", "{end}?sslmode=require"), WrongState, "no TLS"),
    ],
)
def test_a_connection_that_does_not_come_about_says_why_and_no_secret(
    target: Target, change: tuple[str, str], error: type[Exception], said: str
) -> None:
    names = {"port": target.port, "end": target.name}
    old, new = (part.format(**names) for part in change)
    dsn = new.join(target.dsn.rsplit(old, 1))
    with PostgresRunner(dsn) as runner, pytest.raises(error, match=said) as failed:
        runner.run("SELECT 1")
    assert PASSWORD not in str(failed.value)


def test_a_server_that_trusts_our_place_is_not_asked(target_server: TargetServer) -> None:
    """Where we come from must open nothing: the DSN is somebody's, the place is ours."""
    hba = target_server.server.folder / "data" / "pg_hba.conf"
    kept = hba.read_text()
    target = target_server.new_database()
    try:
        hba.write_text(f"host {target.name} all 127.0.0.1/32 trust\n{kept}")
        target.execute("SELECT pg_reload_conf()")
        wait_for(lambda: trusts(target))
        dsn = target.dsn_of("postgres", "wrong")
        with PostgresRunner(dsn) as runner, pytest.raises(WrongState, match="no password"):
            runner.run("SELECT 1")
    finally:
        hba.write_text(kept)
        target.execute("SELECT pg_reload_conf()")


def trusts(target: Target) -> bool:
    try:
        with psycopg.connect(target.dsn_of("postgres", "wrong")):
            return True
    except psycopg.OperationalError:
        return False


def test_something_else_that_answers_is_said_to_be_no_postgresql(target: Target) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        port = listener.getsockname()[1]
        dsn = target.dsn.replace(f":{target.port}/", f":{port}/") + "?sslmode=disable"
        with PostgresRunner(dsn) as runner, pytest.raises(WrongState, match="no PostgreSQL"):
            runner.run("SELECT 1")


def test_the_secret_is_in_no_argument_no_environment_and_no_representation(
    runner: PostgresRunner, target: Target
) -> None:
    runner.run("SELECT 1")
    folder = Path(f"/proc/{runner.pid}")
    for name in ("cmdline", "environ"):
        assert PASSWORD.encode() not in (folder / name).read_bytes()
        assert b"canary" not in (folder / name).read_bytes()
    assert "canary" not in repr(runner) and "canary" not in repr(vars(runner)["_address"])


def test_it_dies_with_its_parent_in_the_middle_of_a_query(target: Target) -> None:
    script = (
        "import sys; from core.sql.postgres.runner import PostgresRunner\n"
        "runner = PostgresRunner(sys.stdin.readline().strip(), trusted=True)\n"
        "runner.run('SELECT 1'); print(runner.pid, flush=True)\n"
        "runner.run('SELECT pg_sleep(1000)')\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    parent.stdin.write(target.dsn + "\n")
    parent.stdin.flush()
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    wait_for(lambda: not running(child))


def wait_for(condition, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def peak_bytes(pid: int) -> int:
    """Most memory the process ever had; 0 if it was killed (then the kernel's limit held it)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found.group(1)) * 1024 if found else 0


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
