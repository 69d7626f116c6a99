"""Columns are found by mapping and by common names; an unclear file says which mapping is right."""

import pytest

from core.datasets.columns import check_mapping, find_columns
from core.errors import InvalidInput


def found(*names: str, **mapping: str):
    columns = find_columns([dict.fromkeys(names, "x")], mapping)
    return columns.kind, columns.roles


@pytest.mark.parametrize(
    ("names", "kind", "roles"),
    [
        (("question", "sql"), "sql", {"question": "question", "sql": "sql"}),
        (("question", "query", "db_id"), "sql", {"question": "question", "sql": "query"}),
        (("query", "sql"), "sql", {"question": "query", "sql": "sql"}),
        (("Question", "Gold SQL"), "sql", {"question": "Question", "sql": "Gold SQL"}),
        (("instruction", "sql"), "sql", {"question": "instruction", "sql": "sql"}),
        (("问题", "SQL"), "sql", {"question": "问题", "sql": "SQL"}),
        (("问题", "查询"), "sql", {"question": "问题", "sql": "查询"}),
        (
            ("问题", "SQL语句", "划分"),
            "sql",
            {"question": "问题", "sql": "SQL语句", "split": "划分"},
        ),
        (
            ("instruction", "input", "output"),
            "instruction",
            {"instruction": "instruction", "output": "output", "input": "input"},
        ),
        (
            ("指令", "输入", "输出"),
            "instruction",
            {"instruction": "指令", "output": "输出", "input": "输入"},
        ),
        (
            ("prompt", "completion"),
            "instruction",
            {"instruction": "prompt", "output": "completion"},
        ),
        (("question", "answer"), "instruction", {"instruction": "question", "output": "answer"}),
        (("query", "response"), "instruction", {"instruction": "query", "output": "response"}),
        (("input", "output"), "instruction", {"instruction": "input", "output": "output"}),
        (("问题", "答案"), "instruction", {"instruction": "问题", "output": "答案"}),
        (("messages", "split"), "chat", {"messages": "messages", "split": "split"}),
    ],
)
def test_common_names_are_found(names, kind, roles):
    assert found(*names) == (kind, roles)


def test_mapping_counts_and_the_rest_is_guessed():
    roles = {"question": "nl", "sql": "target", "split": "part"}
    assert found("nl", "target", "part", sql="target", split="part") == ("sql", roles)
    assert found("a", "b", question="a", sql="b")[0] == "sql"
    assert found("question", "answer", question="question", sql="answer")[0] == "sql"
    assert found("a", "b", instruction="a", output="b")[0] == "instruction"
    assert found("talk", messages="talk") == ("chat", {"messages": "talk"})


def test_columns_of_later_rows_count_too():
    sample = [
        {"instruction": "a", "output": "b"},
        {"instruction": "a", "output": "b", "input": "c"},
    ]
    assert find_columns(sample, {}).roles["input"] == "input"


def refusal(sample: list[dict], mapping: dict | None = None) -> str:
    with pytest.raises(InvalidInput) as caught:
        find_columns(sample, mapping or {})
    assert caught.value.code == "columns"
    assert caught.value.param == "mapping"
    return caught.value.message


def test_unclear_columns_are_named_with_the_mapping_that_fits_the_values():
    message = refusal([{"id": 1, "zh": "有多少客户?", "target_code": "SELECT COUNT(*) FROM c"}])
    assert 'columns found: "id", "zh", "target_code"' in message
    assert '{"question": "zh", "sql": "target_code"}' in message


def test_conversations_under_another_name_are_suggested_as_messages():
    assert '{"messages": "conversations"}' in refusal([{"conversations": [{"from": "human"}]}])


def test_mapping_to_a_missing_column_is_refused():
    message = refusal([{"question": "q", "sql": "SELECT 1"}], {"sql": "quary"})
    assert 'mapping.sql names "quary", which is no column' in message
    assert '"sql": "sql"' in message


def test_unknown_role_is_refused():
    with pytest.raises(InvalidInput, match="the roles are question, sql"):
        check_mapping({"query": "x"})
    with pytest.raises(InvalidInput, match="must name a column"):
        check_mapping({"sql": ""})
