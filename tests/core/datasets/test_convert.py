"""Rows become examples, and everything wrong with one row is told at once with its path."""

import json

import pytest

from core.datasets.columns import Columns
from core.datasets.convert import answer_path, to_examples
from core.datasets.examples import BadRow, Example

SQL = Columns("sql", {"question": "question", "sql": "SQL 语句"})
SQL_SPLIT = Columns("sql", {"question": "question", "sql": "sql", "split": "split"})
INSTRUCTION = Columns(
    "instruction", {"instruction": "instruction", "input": "input", "output": "output"}
)


def problems(value: dict, columns: Columns) -> list[tuple[str, str]]:
    with pytest.raises(BadRow) as caught:
        to_examples(7, value, columns)
    assert all(problem.line == 7 for problem in caught.value.problems)
    assert all(problem.severity == "error" for problem in caught.value.problems)
    return [(problem.code, problem.path) for problem in caught.value.problems]


def test_question_and_sql_lose_the_space_around_them():
    value = {"question": " 多少? ", "SQL 语句": "SELECT 1;\n", "other": None}
    assert to_examples(7, value, SQL) == [Example(7, "多少?", "", "SELECT 1;")]


def test_instruction_keeps_its_texts_as_they_are():
    value = {"instruction": "sum up", "input": " text ", "output": "short\n"}
    assert to_examples(1, value, INSTRUCTION) == [Example(1, "sum up", " text ", "short\n")]
    for nothing in ({"input": None}, {"input": ""}, {}):
        value = {"instruction": "sum up", "output": "short"} | nothing
        assert to_examples(1, value, INSTRUCTION)[0].input == ""


def test_every_problem_of_a_row_is_told_with_its_path():
    assert problems({"question": "", "sql": 3}, SQL) == [
        ("empty_field", "$.question"),
        ("missing_field", '$["SQL 语句"]'),
    ]
    value = {"instruction": None, "input": ["x"], "output": "a\x00b"}
    assert sorted(problems(value, INSTRUCTION)) == [
        ("nul_character", "$.output"),
        ("wrong_type", "$.input"),
        ("wrong_type", "$.instruction"),
    ]


def test_missing_field_names_the_fields_found():
    with pytest.raises(BadRow, match='"SQL 语句" is missing .found "question", "sq"'):
        to_examples(1, {"question": "q", "sq": "SELECT 1"}, SQL)


@pytest.mark.parametrize(
    ("given", "read"),
    [("train", "train"), (" Dev", "validation"), ("val", "validation"), ("测试集", "test"),
     ("unseen-patterns", "unseen_patterns")],
)  # fmt: skip
def test_split_names_are_read(given, read):
    value = {"question": "q", "sql": "s", "split": given}
    assert to_examples(1, value, SQL_SPLIT)[0].split == read


@pytest.mark.parametrize("given", [None, "", 3, "1st", "x" * 60, "a b"])
def test_bad_split_names_are_refused(given):
    value = {"question": "q", "sql": "s", "split": given}
    assert problems(value, SQL_SPLIT) == [("bad_split", "$.split")]


def test_path_of_an_answer_leads_to_its_message():
    chat = Columns("chat", {"messages": "messages"})
    context = json.dumps([{"role": "system", "content": "s"}])
    assert answer_path(Example(1, "q", "", "a", context), chat) == "$.messages[2].content"
    assert answer_path(Example(1, "q", "", "a"), SQL) == '$["SQL 语句"]'
