import os
import signal
import threading
import time

import pytest

import core.sql.runner
from core.errors import InvalidInput
from core.sql.execute import Limits, SqlRunner


def test_a_query_answers_with_columns_and_rows(runner):
    outcome = runner.run("SELECT id, name AS 名字 FROM customers WHERE id < 4 ORDER BY id")
    assert outcome.error is None
    assert outcome.columns == ["id", "名字"]
    assert outcome.rows == [(1, "Ann"), (2, "Bo"), (3, "李雷")]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("NULL", None),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("9e999", float("inf")),
        ("0.1", 0.1),
        ("9e999 - 9e999", None),  # NaN is NULL to SQLite
        ("x'00ff'", b"\x00\xff"),
        ("'a' || char(0) || 'b'", "a\x00b"),
        ("'客户：“李雷”'", "客户：“李雷”"),
        ("CAST(x'ff41' AS TEXT)", "\\xffA"),  # no UTF-8: stays visible, and distinct
        ("CAST(x'fe41' AS TEXT)", "\\xfeA"),
        ("char(10) || '\"'", '\n"'),
    ],
)
def test_every_kind_of_value_survives_the_pipe(runner, expression, value):
    assert runner.run(f"SELECT {expression}").rows == [(value,)]


@pytest.mark.parametrize(
    ("sql", "klass"),
    [
        ("SELEC name FROM customers", "syntax"),
        ("SELECT (name FROM customers", "syntax"),
        ("SELECT 'open", "syntax"),
        ("SELECT ?", "syntax"),
        ("SELECT 'a\0b'", "syntax"),
        ("SELECT '\ud800'", "syntax"),
        ("SELECT 1 -- " + "x" * 100_001, "syntax"),
        ("SELECT * FROM missing", "unknown_table"),
        ("SELECT * FROM 不存在", "unknown_table"),
        ("SELECT missing FROM customers", "unknown_column"),
        ("SELECT x.name FROM customers", "unknown_column"),
        ("SELECT id FROM customers, regions", "unknown_column"),
        ("SELECT missing(1)", "runtime"),
        ("SELECT abs(1, 2)", "runtime"),
        ("SELECT 1 UNION SELECT 1, 2", "runtime"),
        ("SELECT abs(-9223372036854775808)", "runtime"),
        ("SELECT " + "(" * 5000 + "1" + ")" * 5000, "runtime"),
        ("", "not_a_query"),
        ("-- nothing", "not_a_query"),
    ],
)
def test_a_failure_has_the_class_of_its_cause(runner, sql, klass):
    outcome = runner.run(sql)
    assert outcome.error is not None and outcome.error.klass == klass
    assert outcome.error.message
    assert outcome.rows == []


def test_allowed_functions_of_every_kind_work(runner):
    sql = (
        "SELECT count(*), group_concat(name, '；'), round(avg(id), 1), strftime('%Y', '2024-01-02')"
        ", printf('%.2f', 1), upper('a'), json_extract('{\"a\":1}', '$.a'), '[1]' ->> 0,"
        " iif(1, 2, 3), row_number() OVER (), (SELECT count(*) FROM json_each('[1,2]'))"
        " FROM customers WHERE name LIKE '%' AND name GLOB '*'"
    )
    row = runner.run(sql).rows[0]
    assert row[0] == 5 and row[2:] == (3.0, "2024", "1.00", "A", 1, 1, 2, 1, 2)
    assert runner.run("SELECT date('now') = current_date").rows == [(1,)]


def test_ordinary_formats_are_let_pass(runner):
    sql = "SELECT printf('%05.1f * %d%% of %-10s', 1.25, 3, 'x'), format('%s', 12345)"
    assert runner.run(sql).rows == [("001.3 * 3% of x         ", "12345")]
    sql = "SELECT printf('%.2f', 1) FROM customers WHERE name NOT LIKE '%10000' AND id = 1"
    assert runner.run(sql).rows == [("1.00",)]


def test_views_and_recursion_are_allowed(runner):
    assert runner.run("SELECT count(*) FROM gold").rows == [(2,)]
    outcome = runner.run(
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 3) SELECT * FROM c"
    )
    assert outcome.rows == [(1,), (2,), (3,)]


def test_one_process_serves_many_statements(shop):
    with SqlRunner(shop) as runner:
        runner.run("SELECT 1")
        pid = runner.pid
        for number in range(500):
            assert runner.run(f"SELECT {number}").rows == [(number,)]
        assert runner.pid == pid


def test_a_killed_process_is_replaced_without_a_word(shop):
    with SqlRunner(shop) as runner:
        runner.run("SELECT 1")
        pid = runner.pid
        os.kill(pid, signal.SIGKILL)
        while runner.pid is not None:
            time.sleep(0.01)
        assert runner.run("SELECT 2").rows == [(2,)]
        assert runner.pid not in (None, pid)


def test_a_process_killed_in_the_middle_of_a_statement_is_replaced_too(shop):
    with SqlRunner(shop, limits=Limits(seconds=20)) as runner:
        runner.run("SELECT 1")
        killer = threading.Timer(0.2, os.kill, (runner.pid, signal.SIGKILL))
        killer.start()
        counting = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 3000000)"
        assert runner.run(f"{counting} SELECT max(x) FROM c").rows == [(3_000_000,)]
        killer.join()


def test_the_end_of_the_thread_that_started_it_goes_unnoticed(shop):
    with SqlRunner(shop) as runner:
        thread = threading.Thread(target=runner.run, args=("SELECT 1",))
        thread.start()
        thread.join()
        for number in range(20):
            assert runner.run(f"SELECT {number}").rows == [(number,)]


def test_too_many_rows_are_cut_and_said(shop):
    with SqlRunner(shop, limits=Limits(rows=3)) as runner:
        outcome = runner.run("SELECT id FROM customers ORDER BY id")
        assert outcome.truncated
        assert outcome.error.klass == "too_many_rows"
        assert outcome.rows == [(1,), (2,), (3,)]
        assert runner.run("SELECT id FROM customers LIMIT 3").error is None


def test_a_remembered_statement_runs_once(shop):
    with SqlRunner(shop) as runner:
        first = runner.remembered("SELECT count(*) FROM customers")
        assert runner.remembered("SELECT count(*) FROM customers") is first


def test_what_is_remembered_is_bounded_in_bytes_and_not_in_rows_alone(shop, monkeypatch):
    monkeypatch.setattr(core.sql.runner, "_KEPT_BYTES", 5_000_000)
    thousand = "x" * 1000
    large = [f"SELECT {n}, replace('{thousand}', 'x', '{thousand}')" for n in range(10)]
    with SqlRunner(shop) as runner:
        outcomes = [runner.remembered(sql) for sql in large]
        assert [len(one.rows[0][1]) for one in outcomes] == [1_000_000] * 10
        kept = [runner.remembered(sql) is one for sql, one in zip(large, outcomes, strict=True)]
        assert kept == [True] * 4 + [False] * 6
        assert runner.remembered("SELECT 1") is runner.remembered("SELECT 1"), "small ones still"


def test_closing_leaves_neither_process_nor_copy(shop, tmp_path):
    runner = SqlRunner(shop, scratch=tmp_path)
    runner.run("SELECT 1")
    pid = runner.pid
    runner.close()
    runner.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_missing_file_is_invalid_input(tmp_path):
    with pytest.raises(InvalidInput, match="no database file"):
        SqlRunner(tmp_path / "nothing.sqlite")


def test_a_name_with_odd_characters_is_no_obstacle(shop, tmp_path):
    odd = tmp_path / "销售?mode=rwc#%20 x"
    odd.mkdir()
    with SqlRunner(shop, scratch=odd) as runner:
        assert runner.run("SELECT count(*) FROM customers").rows == [(5,)]
