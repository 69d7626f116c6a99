"""Gold, answers and comparison on a PostgreSQL database, through the runner that jobs have."""

import pytest

from core.datasets.gold import GoldChecker
from core.sql.hardness import hardness
from core.sql.judge import judge
from core.sql.normalise import normalise
from core.sql.postgres.runner import PostgresRunner
from core.sql.runner import Limits
from core.sql.target import open_target
from tests.core.sql.postgres_shop import build
from tests.targets import Target, TargetServer

GOLD = 'SELECT "状态", sum("金额") AS total FROM "订单" GROUP BY "状态" ORDER BY total DESC'


@pytest.fixture(scope="module")
def target(target_server: TargetServer) -> Target:
    return build(target_server)


@pytest.fixture(scope="module")
def runner(target: Target):
    with PostgresRunner(target.dsn, limits=Limits(seconds=10)) as runner:
        yield runner


@pytest.mark.parametrize(
    "answer",
    [
        GOLD,
        f"Sure!\n```sql\n{GOLD};\n```",
        "select sum(o.金额)::float8, o.状态 from 订单 o group by 2 order by 1 desc;",
        "SELECT 状态, SUM(金额) FROM 订单 GROUP BY 状态 ORDER BY SUM(金额) DESC NULLS LAST",
    ],
)
def test_an_answer_with_the_gold_s_result_is_correct(runner: PostgresRunner, answer: str) -> None:
    verdict = judge(runner, gold_sql=GOLD, answer=answer, dialect="postgres")
    assert verdict.correct, (verdict.error_class, verdict.message)
    assert verdict.gold_rows[0] == ("已付款", 40.85)


@pytest.mark.parametrize(
    ("answer", "klass"),
    [
        ("I don't know.", "not_a_query"),
        ("SELECT 状态, FROM 订单", "syntax"),
        ("SELECT 状态 FROM orders", "unknown_table"),
        ("SELECT status FROM 订单", "unknown_column"),
        ("DELETE FROM 订单", "forbidden"),
        ("SELECT strftime('%Y', paid_at) FROM 订单", "forbidden"),
        ("SELECT 状态, sum(状态) FROM 订单 GROUP BY 1", "runtime"),
        ("SELECT 状态 FROM 订单", "wrong_columns"),
        ("SELECT 状态, count(*) FROM 订单 GROUP BY 1 ORDER BY 2 DESC", "wrong_rows"),
        ("SELECT 状态, 1 FROM 订单 WHERE 金额 > 1000", "empty"),
    ],
)
def test_a_wrong_answer_has_one_class(runner: PostgresRunner, answer: str, klass: str) -> None:
    verdict = judge(runner, gold_sql=GOLD, answer=answer, dialect="postgres")
    assert (verdict.correct, verdict.error_class) == (False, klass), verdict.message
    assert verdict.gold_executes and verdict.message


def test_dates_truths_and_arrays_are_compared_too(runner: PostgresRunner) -> None:
    gold = "SELECT joined, tags, photo FROM customers WHERE id = 1"
    same = "SELECT date '2024-01-05', ARRAY['a', 'b'], '\\x00ff'::bytea"
    assert judge(runner, gold_sql=gold, answer=same, dialect="postgres").correct
    other = same.replace("'b'", "'c'")
    assert not judge(runner, gold_sql=gold, answer=other, dialect="postgres").correct
    gift = "SELECT gift FROM 订单 ORDER BY 编号"
    cast = "SELECT gift IS TRUE OR NULL FROM 订单 ORDER BY 编号"
    assert judge(runner, gold_sql=gift, answer=gift, dialect="postgres").correct
    assert not judge(runner, gold_sql=gift, answer=cast, dialect="postgres").correct


def test_rows_that_tie_may_change_places(runner: PostgresRunner) -> None:
    gold = "SELECT name FROM customers ORDER BY region_id"
    tied = "SELECT name FROM customers ORDER BY region_id, name DESC"
    wrong = "SELECT name FROM customers ORDER BY region_id DESC"
    assert judge(runner, gold_sql=gold, answer=tied, dialect="postgres").correct
    assert not judge(runner, gold_sql=gold, answer=wrong, dialect="postgres").correct


def test_gold_of_mysql_is_translated_and_executed(runner: PostgresRunner) -> None:
    checker = GoldChecker(source="mysql", target="postgres", runner=runner)
    gold = checker.check(
        "SELECT IFNULL(name, '-') FROM customers WHERE `joined` > DATE('2024-02-01')"
    )
    assert gold.errors == (), gold
    assert "COALESCE" in gold.answer and "`" not in gold.answer
    assert checker.executed == 1
    (error,) = checker.check("SELECT name FROM clients").errors
    assert error[0] == "sql_unknown_table" and "clients" in error[1]


def test_texts_that_mean_the_same_query_are_one(runner: PostgresRunner) -> None:
    first = normalise("SELECT c.name FROM customers c WHERE c.name ILIKE 'a%'", "postgres")
    assert first == normalise("select \"name\" from customers where name ilike 'a%'", "postgres")
    assert hardness("SELECT name FROM customers", "postgres") == "easy"


def test_a_file_a_dsn_and_neither_are_opened_alike(target: Target, shop, tmp_path) -> None:
    sql = "SELECT count(*) FROM customers"
    with open_target(None, target.dsn, scratch=tmp_path) as runner:
        assert runner.remembered(sql).rows == [(5,)]
        assert runner.remembered(sql) is runner.remembered(sql)
    with open_target(shop, None, scratch=tmp_path) as runner:
        assert runner.run(sql).rows == [(5,)]
    with open_target(None, None, scratch=tmp_path) as runner:
        assert runner is None
