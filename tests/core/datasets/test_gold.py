"""Gold SQL is executed on its database, translated where it is of another dialect."""

import sqlite3

import pytest

from core.datasets import gold
from core.datasets.examples import BadRow, Example
from core.datasets.gold import GoldChecker
from core.sql.execute import Limits, SqlRunner
from core.sql.schema import Column, Schema, Table

SHOP = Schema((Table("customers", (Column("id"), Column("name"), Column("joined"))),))
ENDLESS = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n FROM r) SELECT n FROM r WHERE n > 1"


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    path = tmp_path_factory.mktemp("gold") / "shop.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, joined TEXT);"
            "INSERT INTO customers VALUES (1, 'Ann', '2023-05-01'), (2, '李雷', '2024-01-15');"
        )
    connection.close()
    with SqlRunner(path, limits=Limits(seconds=1.0)) as made:
        yield made


class Counting:
    """The runner, and what it was asked."""

    def __init__(self, runner: SqlRunner) -> None:
        self.runner = runner
        self.asked: list[str] = []

    def run(self, sql: str):
        self.asked.append(sql)
        return self.runner.run(sql)


def sqlite(runner, **options) -> GoldChecker:
    return GoldChecker(source="sqlite", target="sqlite", runner=runner, **options)


def test_good_sql_is_described(runner):
    found = sqlite(runner).check("SELECT  Name FROM customers WHERE id = 1")
    other = sqlite(runner).check("select name from CUSTOMERS where id = 2")
    assert (found.errors, found.warnings) == ((), ())
    assert found.answer == "SELECT  Name FROM customers WHERE id = 1"
    assert found.normal != other.normal
    assert found.pattern == other.pattern
    assert found.hardness == "easy"


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELEC name FROM customers", "sql_syntax"),
        ("SELECT name FROM clients", "sql_unknown_table"),
        ("SELECT nam FROM customers", "sql_unknown_column"),
        ("DELETE FROM customers", "sql_forbidden"),
        ("DROP TABLE customers", "sql_forbidden"),
        ("SELECT 1; SELECT 2", "sql_forbidden"),
        (ENDLESS, "sql_timeout"),
    ],
)
def test_sql_that_fails_is_an_error_of_its_class_with_advice(runner, sql, code):
    ((found, message),) = sqlite(runner).check(sql).errors
    assert found == code
    assert message.startswith(code.removeprefix("sql_") + ": ")
    assert "; " in message


def test_an_unknown_name_comes_with_the_one_that_is_meant(runner):
    told = sqlite(runner, schema=SHOP).check("SELECT nam FROM customers").errors
    assert told == (
        (
            "sql_unknown_column",
            "unknown_column: no such column: nam; perhaps customers.name is meant",
        ),
    )


def test_sql_that_finds_nothing_is_a_warning(runner):
    for sql in ("SELECT name FROM customers WHERE id = 9", "SELECT MAX(id) FROM customers WHERE 0"):
        found = sqlite(runner).check(sql)
        assert found.errors == ()
        assert [code for code, _ in found.warnings] == ["sql_empty_result"]


def test_failure_names_line_and_path(runner):
    with pytest.raises(BadRow) as caught:
        sqlite(runner).judge(Example(12, "q", "", "SELECT x FROM customers"), "$.sql")
    (problem,) = caught.value.problems
    assert (problem.line, problem.path, problem.severity) == (12, "$.sql", "error")


def test_same_sql_is_executed_once(runner):
    counting = Counting(runner)
    checker = sqlite(counting)
    for _ in range(5):
        checker.check("SELECT 1")
        checker.check("SELECT 1 FROM nowhere")
    assert counting.asked == ["SELECT 1", "SELECT 1 FROM nowhere"]
    assert checker.executed == 2


def test_mysql_is_translated_executed_and_kept_in_the_dialect_of_the_database(runner):
    checker = GoldChecker(source="mysql", target="sqlite", runner=runner)
    example, found = checker.judge(
        Example(1, "q", "", "SELECT `name` FROM `customers` WHERE joined > '2024' LIMIT 0, 5"),
        "$.sql",
    )
    assert "`" not in example.answer
    assert (found.errors, found.warnings) == ((), ())
    assert runner.run(example.answer).rows == [("李雷",)]


def test_function_that_is_left_over_is_told(runner):
    checker = GoldChecker(source="mysql", target="sqlite", runner=runner)
    with pytest.raises(BadRow) as caught:
        checker.judge(Example(4, "q", "", "SELECT YEAR(joined) FROM customers"), "$.sql")
    error, warning = caught.value.problems
    assert (error.code, error.severity) == ("sql_runtime", "error")
    assert "translated from mysql" in error.message
    assert (warning.code, warning.severity) == ("sql_translation", "warning")
    assert "YEAR" in warning.message


def test_sql_inside_a_longer_answer_is_found_and_the_answer_kept(runner):
    answer = "好的:\n```sql\nSELECT name FROM customers;\n```"
    found = sqlite(runner, extract=True).check(answer)
    assert found.answer == answer
    assert found.normal == sqlite(runner).check("SELECT name FROM customers").normal
    ((code, _),) = sqlite(runner, extract=True).check("I can't tell.").errors
    assert code == "sql_not_a_query"


def test_translation_inside_a_longer_answer_replaces_only_the_sql(runner):
    checker = GoldChecker(source="mysql", target="sqlite", runner=runner, extract=True)
    found = checker.check("Here: \n```sql\nSELECT `name` FROM `customers`\n```\nDone.")
    assert found.answer.startswith("Here: \n```sql\nSELECT ")
    assert found.answer.endswith("\n```\nDone.")
    assert "`name`" not in found.answer


def test_without_a_database_nothing_runs_and_what_cannot_be_read_is_a_warning():
    checker = GoldChecker(source="sqlite", target="sqlite")
    assert checker.check("SELECT x FROM anywhere").warnings == ()
    ((code, _),) = checker.check("how many?").warnings
    assert code == "sql_unreadable"
    assert checker.executed == 0


def test_after_many_timeouts_nothing_more_is_executed(runner, monkeypatch):
    monkeypatch.setattr(gold, "MAX_TIMEOUTS", 1)
    counting = Counting(runner)
    checker = sqlite(counting)
    checker.check(ENDLESS)
    ((code, message),) = checker.check("SELECT 1").errors
    assert code == "sql_timeout"
    assert "not executed" in message
    assert len(counting.asked) == 1
