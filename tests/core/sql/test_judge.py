import json

import pytest

from core.sql.errors import ERROR_CLASSES, GOLD_FAILS
from core.sql.execute import Limits, SqlRunner
from core.sql.judge import judge

_GOLD = "SELECT name, level FROM customers WHERE level = 'G'"


@pytest.mark.parametrize(
    "answer",
    [
        _GOLD,
        "Sure!\n```sql\nSELECT c.name, c.level FROM customers AS c WHERE c.level = 'G';\n```",
        "select level, name from gold",
        "SELECT name AS 姓名, 'G' FROM customers WHERE level LIKE 'G' ORDER BY id DESC",
    ],
)
def test_an_answer_with_the_gold_s_result_is_correct(runner, answer):
    verdict = judge(runner, gold_sql=_GOLD, answer=answer)
    assert verdict.correct and verdict.is_query and verdict.executes
    assert verdict.error_class is None and verdict.message == ""


@pytest.mark.parametrize(
    ("answer", "klass", "executes"),
    [
        ("I don't know.", "not_a_query", False),
        ("", "not_a_query", False),
        ("SELECT name, FROM customers", "syntax", False),
        ("SELECT name FROM clients", "unknown_table", False),
        ("SELECT nickname FROM customers", "unknown_column", False),
        ("DROP TABLE customers", "forbidden", False),
        ("SELECT 1; SELECT 2", "forbidden", False),
        ("SELECT foo(name) FROM customers", "runtime", False),
        ("SELECT name FROM customers WHERE level = 'G'", "wrong_columns", True),
        ("SELECT name, level, id FROM customers WHERE level = 'G'", "wrong_columns", True),
        ("SELECT name, level FROM customers", "wrong_rows", True),
        ("SELECT name, id FROM customers WHERE level = 'G'", "wrong_rows", True),
        ("SELECT name, level FROM customers WHERE level = 'gold'", "empty", True),
    ],
)
def test_a_wrong_answer_has_one_class_and_a_reason(runner, answer, klass, executes):
    verdict = judge(runner, gold_sql=_GOLD, answer=answer)
    assert not verdict.correct
    assert (verdict.error_class, verdict.executes) == (klass, executes)
    assert verdict.message and klass in ERROR_CLASSES
    assert verdict.is_query == (klass != "not_a_query")


def test_limits_have_their_classes(shop):
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT {} FROM c"
    with SqlRunner(shop, limits=Limits(seconds=0.5, rows=100)) as runner:
        for what, klass in (("count(*)", "timeout"), ("x", "too_many_rows")):
            verdict = judge(runner, gold_sql=_GOLD, answer=endless.format(what))
            assert (verdict.correct, verdict.error_class) == (False, klass)


def test_a_gold_that_fails_is_its_own_verdict_and_never_correct(runner):
    for gold in ("SELECT nothing_here FROM customers", "SELEC", "DROP TABLE customers"):
        verdict = judge(runner, gold_sql=gold, answer=gold)
        assert not verdict.correct and not verdict.gold_executes
        assert verdict.error_class == GOLD_FAILS
        assert "the gold does not execute" in verdict.message


def test_the_sql_of_a_gold_that_says_more_is_what_counts(runner):
    gold = f"Here is the query:\n```sql\n{_GOLD}\n```"
    verdict = judge(runner, gold_sql=gold, answer=_GOLD)
    assert verdict.correct and verdict.exact_match and verdict.gold_executes
    assert verdict.hardness == judge(runner, gold_sql=_GOLD, answer=_GOLD).hardness
    assert not judge(runner, gold_sql=gold, answer="SELECT 1").correct


def test_order_counts_only_where_the_gold_orders(runner):
    reverse = "SELECT id FROM customers ORDER BY id DESC"
    assert judge(runner, gold_sql="SELECT id FROM customers", answer=reverse).correct
    verdict = judge(runner, gold_sql="SELECT id FROM customers ORDER BY id", answer=reverse)
    assert verdict.error_class == "wrong_rows" and "order" in verdict.message


@pytest.mark.parametrize(
    ("gold", "tied"),
    [
        # Two customers joined on one day: their order is free, wherever the sort key is written.
        ("SELECT name FROM customers ORDER BY joined", "id DESC"),
        ("SELECT name, joined AS d FROM customers ORDER BY d", "id DESC"),
        ("SELECT name, joined FROM customers ORDER BY 2", "id DESC"),
        ("SELECT name, joined AS Day FROM customers ORDER BY day", "id DESC"),
    ],
)
def test_tied_rows_may_change_places(runner, gold, tied):
    columns = gold.split(" FROM ")[0]
    assert judge(
        runner, gold_sql=gold, answer=f"{columns} FROM customers ORDER BY joined, {tied}"
    ).correct
    assert not judge(
        runner, gold_sql=gold, answer=f"{columns} FROM customers ORDER BY joined DESC"
    ).correct


def test_exact_match_is_by_text_and_correctness_by_result(runner):
    same = judge(runner, gold_sql=_GOLD, answer=_GOLD.lower().replace("'g'", "'G'") + ";")
    assert same.exact_match and same.correct
    other = judge(runner, gold_sql=_GOLD, answer="SELECT name, level FROM gold")
    assert other.correct and not other.exact_match


def test_hardness_is_the_gold_s(runner):
    assert judge(runner, gold_sql="SELECT count(*) FROM regions", answer="").hardness == "easy"


def test_a_verdict_is_plain_json_whatever_the_values(runner):
    answer = (
        "SELECT x'00ff', 9e999, 9223372036854775807, 'a' || char(0), CAST(x'ff' AS TEXT),"
        f" '{'长' * 500}', NULL FROM customers"
    )
    verdict = judge(runner, gold_sql=answer, answer=answer)
    assert verdict.correct
    data = json.loads(json.dumps(verdict.to_dict(), allow_nan=False, ensure_ascii=False))
    row = data["rows"][0]
    assert row[:5] == ["x'00ff'", "inf", 2**63 - 1, "a\\x00", "\\xff"]
    assert len(row[5]) == 200 and row[6] is None
    assert (len(data["rows"]), data["row_count"], data["gold_row_count"]) == (5, 5, 5)
    json.dumps(data, ensure_ascii=False).encode()


def test_every_real_gold_judged_against_itself_is_correct(real_data):
    for name in ("geoquery", "spider_dev"):
        for path, examples in real_data(name):
            with SqlRunner(path) as runner:
                for example in examples:
                    gold = example["sql"]
                    verdict = judge(runner, gold_sql=gold, answer=f"```sql\n{gold};\n```")
                    assert verdict.correct and verdict.exact_match, (gold, verdict.message)
