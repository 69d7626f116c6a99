"""OpenAI's lines are answered by the model as each of them asks, and one bad line is its own."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from core.batches import output
from tests.core.batches.test_lines import ASKED, BODY, CHAT, SQL, line
from tests.tiny_model import build_tiny_model
from workers.context import LocalContext, Stopped
from workers.recipes.generate import run


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    path = tmp_path_factory.mktemp("shop") / "shop.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE shops (id INTEGER PRIMARY KEY, name TEXT);")
    connection.close()
    return path


def chat(custom_id: str, content: str = "How many?", **asked: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": content}]
    return line(custom_id, body=BODY | {"max_tokens": 4, "messages": messages} | asked)


def context(folder: Path, model: Path, *lines: Any, endpoint: str = CHAT, rows=None, **inputs):
    folder.mkdir(exist_ok=True)
    path = folder / "batch.jsonl"
    texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    params = {
        "endpoint": endpoint,
        "model": "sales:3",
        "quantization": "none",
        "precision": "fp32",
        "prompt": "auto",
        "max_new_tokens": 6,
        "schema_text": "shops(id, name)" if inputs else None,
        "dialect": "sqlite",
    }
    inputs |= {"model": model, "questions": path}
    return LocalContext(params, inputs, folder / "work", rows=rows)


def test_each_chat_line_becomes_a_completion_of_its_own(tmp_path: Path, model: Path) -> None:
    ctx = context(
        tmp_path,
        model,
        chat("plain"),
        chat("two", n=2, temperature=1.0, seed=7),
        "broken",
        chat("long", "x " * 6000),
        chat("客", "有多少家店？", max_tokens=2),
    )
    result = run(ctx)
    rows = [ctx.rows[index] for index in range(5)]
    assert [output.is_answer(row) for row in rows] == [True, True, False, False, True]
    assert [row["custom_id"] for row in rows] == ["plain", "two", None, "long", "客"]
    plain, two, broken, long, short = (row["response"]["body"] for row in rows)
    assert (plain["object"], plain["model"]) == ("chat.completion", "tiny")
    assert plain["choices"][0]["message"]["role"] == "assistant"
    assert plain["usage"]["completion_tokens"] <= 4
    assert [choice["index"] for choice in two["choices"]] == [0, 1]
    assert broken["error"]["code"] == "invalid_json_line"
    assert long["error"]["code"] == "context_length_exceeded"
    assert short["usage"]["completion_tokens"] <= 2
    assert (result["rows"], result["completed"], result["failed"]) == (5, 3, 2)
    assert not list(ctx.out.iterdir()), "the keeper makes the files"


def test_a_line_that_asks_has_the_tokens_of_each_answer_with_their_log_probabilities(
    tmp_path: Path, model: Path
) -> None:
    asked = {"max_tokens": 12, "temperature": 1.0, "seed": 3, "n": 2}
    lines = [chat("plain", **asked), chat("asks", **asked, logprobs=True, top_logprobs=3)]
    ctx = context(tmp_path, model, *lines)
    run(ctx)
    plain, asks = (ctx.rows[index]["response"]["body"]["choices"] for index in range(2))
    assert [choice["message"] for choice in asks] == [choice["message"] for choice in plain]
    assert [choice["logprobs"] for choice in plain] == [None, None]
    for choice in asks:
        content = choice["logprobs"]["content"]
        assert list(choice["logprobs"]) == ["content", "refusal"]
        assert list(content[0]) == ["token", "logprob", "bytes", "top_logprobs"]
        assert all(len(one["top_logprobs"]) == 3 and one["logprob"] < 0 for one in content)
        told = b"".join(bytes(one["bytes"]) for one in content)
        assert told.decode("utf-8", "replace") == choice["message"]["content"]


def test_an_answer_names_what_an_alias_stood_for(tmp_path: Path, model: Path) -> None:
    ctx = context(tmp_path, model, chat("a", model="sales@production"), chat("b", model="sales:3"))
    run(ctx)
    assert [row["response"]["body"]["model"] for row in ctx.rows.values()] == ["sales:3"] * 2


def test_lines_that_ask_the_same_are_drawn_apart_and_alike_in_another_attempt(
    tmp_path: Path, model: Path
) -> None:
    lines = [chat(f"line-{n}", temperature=1.5, max_tokens=8) for n in range(4)]
    first = context(tmp_path / "first", model, *lines)
    run(first)
    rows = {index: row for index, row in first.rows.items() if index < 2}
    second = context(tmp_path / "second", model, *lines, rows=list(rows.items()))
    result = run(second)
    assert sorted(second.rows) == [2, 3], "only what had no row is asked"
    assert (result["resumed_rows"], result["completed"]) == (2, 4)

    def said(row: dict[str, Any]) -> str:
        return row["response"]["body"]["choices"][0]["message"]["content"]

    assert len({said(row) for row in first.rows.values()}) == 4
    assert [said(second.rows[n]) for n in (2, 3)] == [said(first.rows[n]) for n in (2, 3)]


def test_each_line_for_sql_is_run_on_the_database(tmp_path: Path, model: Path, shop: Path) -> None:
    lines = [line(f"q{n}", url=SQL, body=ASKED | {"max_tokens": 4, "rows": 1}) for n in range(3)]
    ctx = context(tmp_path, model, *lines, endpoint=SQL, database=shop)
    result = run(ctx)
    bodies = [ctx.rows[index]["response"]["body"] for index in range(3)]
    for body in bodies:
        assert (body["object"], body["database"], body["question"]) == (
            "sql.answer",
            "shop",
            "How many shops?",
        )
        assert body["executes"] is (body["error"] is None)
    assert (result["completed"], result["failed"]) == (3, 0), "a wrong answer is an answer"


def test_a_batch_that_is_stopped_has_the_rows_that_were_done(tmp_path: Path, model: Path) -> None:
    ctx = context(tmp_path, model, *(chat(f"line-{n}", max_tokens=1 + 6 * n) for n in range(4)))
    send = ctx.send

    def stop_after_a_row(**message: Any) -> None:
        send(**message)
        if message["kind"] == "row":
            ctx.stop = "cancel"

    ctx.send = stop_after_a_row
    with pytest.raises(Stopped, match="cancel"):
        run(ctx)
    assert 0 < len(ctx.rows) < 4
