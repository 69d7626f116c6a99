"""A line of a batch is read, or named with what is wrong and what would be right."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.batches.lines import Line, read_lines, read_names
from core.settings import get_settings

CHAT = "/v1/chat/completions"
SQL = "/v1/sql"
BODY = {"model": "tiny", "messages": [{"role": "user", "content": "有多少家店？"}]}
ASKED = {"model": "tiny", "database": "shop", "question": "How many shops?"}


def line(custom_id: Any = "a", **changes: Any) -> dict[str, Any]:
    made = {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": BODY, **changes}
    return {name: value for name, value in made.items() if value is not ...}


def read(folder: Path, *lines: Any, endpoint: str = CHAT) -> list[Line]:
    texts = [one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in lines]
    path = folder / "batch.jsonl"
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return list(read_lines(path, endpoint))


def test_a_line_is_a_request_under_its_name(tmp_path: Path) -> None:
    [one] = read(tmp_path, line("问-1", body=BODY | {"max_tokens": 5, "n": 2, "user": "me"}))
    assert (one.row, one.number, one.custom_id, one.error) == (0, 1, "问-1", None)
    assert one.request.turns == BODY["messages"]
    assert (one.request.answer_tokens, one.request.n) == (5, 2)


def test_a_line_for_sql_names_question_and_database(tmp_path: Path) -> None:
    [one] = read(tmp_path, line(url=SQL, body=ASKED | {"rows": 3}), endpoint=SQL)
    assert (one.request.question, one.request.database, one.request.rows) == (
        "How many shops?",
        "shop",
        3,
    )


def test_rows_leave_blank_lines_out_and_numbers_count_them(tmp_path: Path) -> None:
    found = read(tmp_path, line("a"), "", line("b"))
    assert [(one.row, one.number) for one in found] == [(0, 1), (1, 3)]


@pytest.mark.parametrize(
    "wrong, code, param",
    [
        ("not json", "invalid_json_line", None),
        ('{"custom_id": "a", "custom_id": "b"}', "invalid_json_line", None),
        ('["a"]', "invalid_json_line", None),
        (line(...), "missing_required_parameter", "custom_id"),
        (line(method=...), "missing_required_parameter", "method"),
        (line(url=...), "missing_required_parameter", "url"),
        (line(body=...), "missing_required_parameter", "body"),
        (line(7), "invalid_custom_id", "custom_id"),
        (line(""), "invalid_custom_id", "custom_id"),
        (line("x" * 513), "invalid_custom_id", "custom_id"),
        (line(method="GET"), "invalid_method", "method"),
        (line(url=SQL), "invalid_url", "url"),
        (line(url="/v1/embeddings"), "invalid_url", "url"),
        (line(extra=1), "unknown_parameter", "extra"),
        (line(body="ask"), "invalid_body", "body"),
        (line(body=BODY | {"stream": True}), "streaming_unsupported", "body.stream"),
        (line(body={"model": "tiny"}), "missing_required_parameter", "body.messages"),
        (line(body={"messages": BODY["messages"]}), "missing_required_parameter", "body.model"),
        (line(body=BODY | {"top_k": 5}), "unknown_parameter", "body.top_k"),
        (line(body=BODY | {"temperature": 3}), "less_than_equal", "body.temperature"),
        (line(body=BODY | {"logit_bias": {"5": 1}}), "unsupported_value", "body.logit_bias"),
        (line(body=BODY | {"top_logprobs": 2}), "invalid_top_logprobs", "body.top_logprobs"),
        (
            line(body=BODY | {"messages": [{"role": "bot", "content": "x"}]}),
            "literal_error",
            "body.messages.0.role",
        ),
    ],
)
def test_what_is_wrong_with_a_line_has_a_code_and_a_place(
    tmp_path: Path, wrong: Any, code: str, param: str | None
) -> None:
    [one] = read(tmp_path, wrong)
    assert one.request is None
    assert (one.error.code, one.error.param) == (code, param)
    assert one.error.message


def test_a_field_that_a_body_does_not_have_may_be_meant_for_another(tmp_path: Path) -> None:
    bodies = BODY | {"max_token": 5}, BODY | {"top_k": 5}, ASKED | {"database_id": "shop"}
    found = read(tmp_path, *(line(body=body) for body in bodies[:2]))
    found += read(tmp_path, line(url=SQL, body=bodies[2]), endpoint=SQL)
    assert [one.error.message for one in found] == [
        "body.max_token: no such field; perhaps max_tokens is meant",
        "body.top_k: no such field; perhaps top_p is meant",
        "body.database_id: no such field; perhaps database is meant",
    ]


def test_a_bad_line_keeps_its_name_if_it_has_one(tmp_path: Path) -> None:
    [one, other] = read(tmp_path, line("a", url=SQL), "broken")
    assert (one.custom_id, other.custom_id) == ("a", None)


def test_names_are_read_without_a_look_at_what_is_asked(tmp_path: Path) -> None:
    read(tmp_path, line("a"), "broken", line("c", body={}))
    assert list(read_names(tmp_path / "batch.jsonl")) == [(0, "a"), (1, None), (2, "c")]


def test_a_line_may_be_as_long_as_the_operator_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [line("a"), line("b", body=BODY | {"user": "x" * 2_000_000}), line("c")]
    assert [one.error is None for one in read(tmp_path, *lines)] == [True, False, True]
    monkeypatch.setattr(get_settings(), "max_line_bytes", 3_000_000)
    assert [one.error for one in read(tmp_path, *lines)] == [None] * 3
    assert [name for _, name in read_names(tmp_path / "batch.jsonl")] == ["a", "b", "c"]
