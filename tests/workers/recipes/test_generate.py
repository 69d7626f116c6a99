"""Every question of a batch gets a durable row, in time, with an error of its own or none."""

import json
import sqlite3

import pytest
import torch

from core.errors import JobFailure
from core.evaluations.summary import BatchSummary
from core.sql.execute import SqlRunner
from core.training.prompts import PromptTemplate
from tests.tiny_model import build_tiny_model
from workers.asking.form import Refused
from workers.asking.questions import answered, read_questions
from workers.context import LocalContext
from workers.ml.generation import Completion
from workers.recipes.generate import run

SCHEMA = "customers(id, name, city)"
KEYS = {
    *("id", "question", "sql", "is_query", "executes", "error"),
    *("prompt_tokens", "completion_tokens", "latency_seconds"),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    path = tmp_path_factory.mktemp("shop") / "shop.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT);")
    connection.close()
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("tiny"))


def write_lines(path, *lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def questions(path, count):
    texts = ["How many {}?", "客户 {} 是谁?", "What is the total of all sales for customer {}?"]
    lines = [{"id": f"q{n}", "question": texts[n % 3].format(n)} for n in range(count)]
    return write_lines(path, *(json.dumps(line, ensure_ascii=False) for line in lines))


def context(tmp_path, inputs, *, rows=None, **params):
    params = {
        "quantization": "none",
        "precision": "fp32",
        "prompt": "auto",
        "max_new_tokens": 6,
        "schema_text": SCHEMA,
        "dialect": "sqlite",
        **params,
    }
    return LocalContext(params, inputs, tmp_path / "work", rows=rows)


def test_every_question_gets_a_row_and_the_results_keep_their_order(tmp_path, model, shop):
    file = questions(tmp_path / "q.jsonl", 9)
    ctx = context(tmp_path, {"model": model, "database": shop, "questions": file})
    result = run(ctx)
    assert sorted(ctx.rows) == list(range(9))
    assert all(set(row) >= KEYS for row in ctx.rows.values())
    lines = (ctx.out / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == [f"q{n}" for n in range(9)]
    assert json.loads(lines[1])["question"] == "客户 1 是谁?"
    assert "客户" in lines[1]
    assert result["rows"] == 9
    assert result["requests_per_second"] > 0
    assert 0 <= result["valid_share"] <= 1


def test_the_schema_goes_through_the_trunk_once_per_job(tmp_path, model, shop, monkeypatch):
    seen = []
    forward = torch.nn.Embedding.forward

    def count(self, ids):
        seen.append(ids.numel())
        return forward(self, ids)

    monkeypatch.setattr(torch.nn.Embedding, "forward", count)
    file = questions(tmp_path / "q.jsonl", 12)
    long_schema = "\n".join(f"table_{n}(id, name, city, total, amount)" for n in range(40))
    ctx = context(
        tmp_path, {"model": model, "database": shop, "questions": file}, schema_text=long_schema
    )
    result = run(ctx)
    rows = list(ctx.rows.values())
    prompts = sum(row["prompt_tokens"] for row in rows)
    decoded = sum(row["completion_tokens"] - 1 for row in rows)
    prefix = result["prefix_tokens"]
    assert prefix > 500
    assert sum(seen) == result["trunk_tokens"]
    assert result["trunk_tokens"] == prompts - 11 * prefix + decoded


def test_rows_of_an_earlier_attempt_are_kept(tmp_path, model, shop):
    file = questions(tmp_path / "q.jsonl", 6)
    inputs = {"model": model, "database": shop, "questions": file}
    first = context(tmp_path / "first", inputs)
    run(first)
    kept = {index: {**first.rows[index], "answer": "kept"} for index in (0, 3)}
    second = context(tmp_path / "second", inputs, rows=list(kept.items()))
    result = run(second)
    assert sorted(second.rows) == [1, 2, 4, 5]
    assert (result["rows"], result["resumed_rows"]) == (6, 2)
    wanted = BatchSummary()
    for row in (second.rows | kept).values():
        wanted.add(row)
    assert {name: result[name] for name in wanted.to_dict()} == wanted.to_dict()
    lines = (second.out / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["answer"] == "kept" for line in lines] == [
        index in kept for index in range(6)
    ]


def test_a_line_without_a_question_is_its_own_error(tmp_path, model, shop):
    file = write_lines(
        tmp_path / "q.jsonl",
        '{"id": "a", "question": "How many?"}',
        "not json",
        "",
        '{"id": "b", "question": "  "}',
        '["a"]',
        '{"question": "without id"}',
        "[" * 50_000,
        '{"question": "half of \\ud83d"}',
    )
    found = dict(read_questions(file))
    assert {index: one for index, one in found.items() if not isinstance(one, Refused)} == {
        0: {"id": "a", "question": "How many?"},
        4: {"id": 5, "question": "without id"},
    }
    assert [index for index, one in found.items() if isinstance(one, Refused)] == [1, 2, 3, 5, 6]
    ctx = context(tmp_path, {"model": model, "database": shop, "questions": file})
    result = run(ctx)
    assert result["errors"]["invalid_row"] == 5
    assert ctx.rows[2]["id"] == "b"
    assert len((ctx.out / "results.jsonl").read_text(encoding="utf-8").splitlines()) == 7


def test_a_question_longer_than_the_context_is_its_own_error(tmp_path, model, shop):
    long = json.dumps({"id": "long", "question": "x " * 6000})
    file = write_lines(tmp_path / "q.jsonl", long, '{"id": "short", "question": "y"}')
    ctx = context(tmp_path, {"model": model, "database": shop, "questions": file})
    run(ctx)
    assert ctx.rows[0]["error"]["class"] == "prompt_too_long"
    assert ctx.rows[1]["completion_tokens"] > 0


def test_an_empty_batch_is_the_callers_mistake(tmp_path, model):
    file = write_lines(tmp_path / "q.jsonl", "")
    with pytest.raises(JobFailure, match="no questions") as failure:
        run(context(tmp_path, {"model": model, "questions": file}))
    assert failure.value.klass == "data"


def completion(text):
    return Completion(0, [1], text, 5, 1, 0.1, "stop")


def test_sql_is_taken_from_the_answer_and_run(shop):
    asked = {"id": "a", "question": "?"}
    with SqlRunner(shop) as runner:
        good = answered(asked, completion("Sure:\n```sql\nSELECT * FROM customers;\n```"), runner)
        wrong = answered(asked, completion("SELECT * FROM clients"), runner)
        chatter = answered(asked, completion("I can't."), runner)
    assert (good["sql"], good["is_query"], good["executes"]) == (
        "SELECT * FROM customers",
        True,
        True,
    )
    assert good["error"] is None
    assert (wrong["executes"], wrong["error"]["class"]) == (False, "unknown_table")
    assert (chatter["sql"], chatter["is_query"]) == (None, False)
    assert chatter["error"]["class"] == "not_a_query"


def test_without_a_database_nothing_is_run():
    row = answered({"id": 1, "question": "?"}, completion("SELECT 1"), None)
    assert (row["is_query"], row["executes"], row["error"]) == (True, None, None)


def test_a_model_is_asked_with_the_prompt_it_was_trained_with(tmp_path, model, shop):
    import shutil

    merged = shutil.copytree(model, tmp_path / "merged")
    PromptTemplate("bare", None, "sqlite").save(merged)
    file = questions(tmp_path / "q.jsonl", 2)
    inputs = {"model": merged, "database": shop, "questions": file}
    assert run(context(tmp_path / "auto", inputs))["prompt"] == "bare"
    assert run(context(tmp_path / "asked", inputs, prompt="schema"))["prompt"] == "schema"
    PromptTemplate("schema", "airports(code)", "sqlite").save(merged)
    other = run(context(tmp_path / "other", inputs, schema_text=SCHEMA * 5))
    assert other["prompt"] == "schema"
    assert other["prompt_tokens"] > run(context(tmp_path / "own", inputs))["prompt_tokens"]
