import time

import pytest

from core.sql.extract import extract_sql

_SQL = "SELECT name FROM customers WHERE level = 'G'"


@pytest.mark.parametrize(
    "answer",
    [
        _SQL,
        f"  {_SQL};\n",
        f"{_SQL};;",
        f"```sql\n{_SQL};\n```",
        f"```\n{_SQL}\n```",
        f"```SQL {_SQL}```",
        f"~~~sql\n{_SQL}\n~~~",
        f"```sql\n{_SQL}",
        f"{_SQL};\n```\nThis uses SELECT to find the names.",
        f"Sure! Here is the query:\n```sql\n{_SQL}\n```\nThis query selects the gold customers.",
        f"Sure! Here is the query you asked for: {_SQL}",
        f"Here's what you need:\n\n{_SQL};\n\nIt's the customers' names; level 'G' means gold.",
        f"SQL: {_SQL}",
        f"SQLQuery: {_SQL}\nAnswer: Ann",
        f"**SQL**\n\n{_SQL}\n\n**Explanation**\nIt selects 3 names.",
        f"The answer is `{_SQL}`.",
        f'Use "{_SQL}" for that.',
        f'{{"sql": "{_SQL}"}}',
        f'```python\ncursor.execute("{_SQL}")\n```',
        f"<think>Maybe SELECT 1 FROM x; or not.</think>\n{_SQL}",
        f"I could SELECT 1 FROM x.</think>\n\n{_SQL}",
        f"{_SQL}<|im_end|>\n<|im_start|>user",
        f"{_SQL}</s>",
        f"\ufeff{_SQL}",
        f"{_SQL}\x00",
        f"{_SQL}\nThis query returns the names.",
        f"{_SQL} Question: how many are there?",
        f"{_SQL}\n\nQuestion: how many are there?\nSQL: SELECT count(*) FROM customers",
        f"{_SQL}\n### Explanation",
        f"{_SQL}; Update the level if needed.",
        f"Select the names from the customers like this:\n{_SQL}",
        f"I'd select them from the table with: {_SQL}",
        f"```\nThe result is 5\n```\n{_SQL}",
        f"```sql\n-- Select gold customers from the table\n{_SQL}\n```",
        f"好的，以下是查询语句：\n```sql\n{_SQL}\n```\n该语句查询金牌客户。",
        f"好的，以下是查询语句：{_SQL}。",
        f"查询语句：\n{_SQL}；\n这条语句返回客户姓名。",
        f"{_SQL}\n说明：G 表示金牌客户",
        f"{_SQL}\n该查询返回姓名",
        "SELECT name FROM customers WHERE level ＝ ‘G’；",
        "SELECT　name FROM customers WHERE level = 'G'",
    ],
)
def test_the_query_is_found_in_any_wrapping(answer):
    assert extract_sql(answer) == _SQL


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT\n  name,\n  level\nFROM customers\n\nWHERE id > 3\nORDER BY name DESC\nLIMIT 3",
        "WITH x AS (SELECT 1 AS a) SELECT a FROM x",
        "WITH RECURSIVE c(x) AS (VALUES (1) UNION SELECT 2) SELECT x FROM c",
        "select a from t union\n\nselect b from u",
        "(SELECT a FROM t) UNION SELECT 1",
        "VALUES (1, 2)",
        "SELECT a FROM t WHERE b = 'it''s; fine' AND c = 'Note: x。'",
        "SELECT a -- the; name\nFROM t /* a; b */ WHERE x = 1",
        'SELECT "a;b", `c d`, [e f] FROM t WHERE 1',
        "SELECT CASE WHEN a > 1 THEN 'x' ELSE 'y' END FROM t",
        "SELECT 姓名, 年龄 FROM 客户 WHERE 城市 = '北京，朝阳（东）；'",
        "SELECT\n姓名,\n年龄\nFROM 客户\nWHERE 城市 = '北京'",
        "SELECT 金额（元） FROM 订单 WHERE 状态 = '“已付款”'",
        "SELECT name, FROM WHERE customers",
        "SELECT 1; SELECT 2",
        "SELECT a FROM t; DROP TABLE t",
        "DROP TABLE customers",
        "DELETE FROM t WHERE id IN (SELECT id FROM u)",
        "INSERT INTO t SELECT * FROM u",
        "UPDATE t SET a = 1",
        "ATTACH 'x' AS y",
        "VACUUM INTO '/tmp/x'",
        "PRAGMA table_info(t)",
        "SET statement_timeout = 0",
        "SELECT CURRENT_DATE",
    ],
)
def test_sql_stays_as_it_is_for_the_sandbox_to_judge(sql):
    assert extract_sql(sql) == sql
    assert extract_sql(f"Here it is:\n```sql\n{sql};\n```\nDone.") == sql


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "   \n",
        "I don't know.",
        "There are 5 customers.",
        "客户共有五位。",
        "<think>SELECT a FROM t",
        "Please select the best option and drop me a line.",
        "SELECT",
        "```json\n{}\n```",
    ],
)
def test_an_answer_without_sql_gives_none(answer):
    assert extract_sql(answer) is None


def test_full_width_marks_become_plain_outside_of_quotes_only():
    answer = "SELECT name，COUNT（*） FROM 客户 WHERE 城市 = ‘北京，朝阳’ AND （id ＞ 3）；"
    assert extract_sql(answer) == (
        "SELECT name,COUNT(*) FROM 客户 WHERE 城市 = '北京，朝阳' AND (id > 3)"
    )


def test_curly_quotes_around_an_apostrophe_stay_one_text():
    assert extract_sql("SELECT 1 WHERE a = ‘O'Neil’") == "SELECT 1 WHERE a = 'O''Neil'"


def test_an_escaped_json_answer_is_unescaped():
    answer = '{"sql": "SELECT \\"a b\\"\\nFROM t", "why": "x"}'
    assert extract_sql(answer) == 'SELECT "a b"\nFROM t'


@pytest.mark.parametrize(
    "unit",
    ["(", "SELECT (", "'", '"', "`", "```", "/*", "--\n", "a\n", "\n\nA b", "<think>", "；", "Q: "],
)
def test_no_answer_takes_long_to_read(unit):
    started = time.monotonic()
    extract_sql("SELECT a FROM t WHERE " + unit * 20_000)
    extract_sql(unit * 20_000 + "SELECT a FROM t")
    assert time.monotonic() - started < 10
