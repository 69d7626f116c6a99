import pytest

from core.sql.normalise import transpile

_LEFT_OVER = " is no function of SQLite that a query may call"


def test_mysql_becomes_sqlite(runner):
    source = (
        "SELECT DATE_FORMAT(joined, '%Y-%m') AS 月, CONCAT(name, '!'), IF(id > 1, 'a', 'b')"
        " FROM `customers` ORDER BY `id` LIMIT 1, 1"
    )
    done = transpile(source, "mysql", "sqlite")
    assert done.problems == ()
    assert runner.run(done.sql).rows == [("2024-02", "Bo!", "a")]


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("SELECT FIND_IN_SET('a', b) FROM t", "FIND_IN_SET"),
        ("SELECT YEAR(d) FROM t", "YEAR"),
        ("SELECT LEFT(a, 2) FROM t", "LEFT"),
        ("SELECT a FROM t WHERE b IN (SELECT SLEEP(5))", "SLEEP"),
        ("SELECT RAND() FROM t", "RANDOM"),
    ],
)
def test_a_function_that_is_left_over_is_named(sql, name):
    assert transpile(sql, "mysql", "sqlite").problems == (f"{name}{_LEFT_OVER}",)


def test_a_date_format_that_sqlite_answers_with_null_is_named():
    (problem,) = transpile("SELECT DATE_FORMAT(d, '%M') FROM t", "mysql", "sqlite").problems
    assert "STRFTIME" in problem and "%B" in problem


def test_what_sqlglot_can_t_keep_is_said():
    (problem,) = transpile("SELECT TRUNCATE(a, 2) FROM t", "mysql", "sqlite").problems
    assert "decimals" in problem


@pytest.mark.parametrize(
    "sql", ["SELECT (", "DROP TABLE t", "SELECT 1; SELECT 2", "", "SELECT " + "(" * 5000]
)
def test_what_is_not_one_query_is_a_problem_and_stays(sql):
    done = transpile(sql, "mysql", "sqlite")
    assert done.sql == sql
    assert done.problems[0].startswith("not one query in mysql")


def test_what_is_read_but_too_deep_to_be_written_is_a_problem_and_stays():
    sql = "SELECT " + "- " * 400 + "a"
    done = transpile(sql, "postgres", "sqlite")
    assert done.sql == sql
    assert done.problems[0].startswith("nested too deeply")


def test_sql_of_the_database_s_own_dialect_is_not_rewritten():
    sql = "select  strftime('%Y', d) , count(*) c from [t] where x in (1,2) -- keep"
    done = transpile(sql, "sqlite", "sqlite")
    assert (done.sql, done.problems) == (sql, ())
    assert transpile("SELECT foo(1)", "sqlite", "sqlite").problems == (f"FOO{_LEFT_OVER}",)


def test_ordinary_sqlite_is_no_problem(real_data):
    for _, examples in real_data("spider_dev"):
        for example in examples:
            assert transpile(example["sql"], "sqlite", "sqlite").problems == ()
