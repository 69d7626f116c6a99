"""Every example gets a durable row and a verdict; the summary is that of all rows."""

import json
import sqlite3

import pytest

from core.evaluations.summary import summarise
from core.sql.execute import SqlRunner
from tests.tiny_model import build_tiny_dataset, build_tiny_model
from workers.context import LocalContext, Stopped
from workers.ml.generation import Completion, Problem
from workers.recipes.evaluate import run, sample, verdict

ROWS = [
    {"question": "How many customers?", "answer": "SELECT COUNT(*) FROM customers"},
    {"question": "谁住在北京?", "answer": "SELECT name FROM customers WHERE city = '北京'"},
    {"question": "All names by name?", "answer": "SELECT name FROM customers ORDER BY name"},
    {"question": "Which cities?", "answer": "SELECT DISTINCT city FROM customers"},
    {"question": "客户编号?", "answer": "SELECT id FROM customers"},
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    path = tmp_path_factory.mktemp("shop") / "shop.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, city TEXT);"
        "INSERT INTO customers VALUES (1, 'Ann', 'Paris'), (2, '李雷', '北京'), (3, 'Bo', 'Oslo');"
    )
    connection.close()
    return path


@pytest.fixture(scope="module")
def inputs(shop, tmp_path_factory):
    model = build_tiny_model(tmp_path_factory.mktemp("tiny"))
    rows = [{**row, "split": "test"} for row in ROWS]
    dataset = build_tiny_dataset(
        tmp_path_factory.mktemp("dataset"), rows, schema_text="customers(id, name, city)"
    )
    return {"model": model, "dataset": dataset, "database": shop}


def context(inputs, tmp_path, *, rows=None, **params):
    params = {
        "split": "test",
        "limit": None,
        "seed": 1,
        "quantization": "none",
        "precision": "fp32",
        "prompt": "auto",
        "max_new_tokens": 8,
        "schema_text": None,
        "dialect": "sqlite",
        "kind": "sql",
        **params,
    }
    return LocalContext(params, inputs, tmp_path / "work", rows=rows)


def test_every_example_gets_a_row_and_the_summary_counts_them(inputs, tmp_path):
    ctx = context(inputs, tmp_path)
    result = run(ctx)
    assert sorted(ctx.rows) == list(range(len(ROWS)))
    for index, row in ctx.rows.items():
        assert row["line"] == index + 1
        assert row["question"] == ROWS[index]["question"]
        assert row["gold"] == ROWS[index]["answer"]
        assert row["language"] == ("zh" if index in (1, 4) else "en")
        assert row["hardness"] in ("easy", "medium", "hard", "extra")
        assert row["latency_seconds"] > 0
        assert row["correct"] is False and row["error_class"]
    assert result["execution_accuracy"]["total"] == len(ROWS)
    assert result["execution_accuracy"]["correct"] == 0
    assert set(result["by_language"]) == {"en", "zh"}
    assert result["invalid_sql"] == 1.0
    assert sum(result["errors"].values()) == len(ROWS)
    assert result["requests_per_second"] > 0
    assert result["prefix_tokens"] > 20
    assert result["prompt"] == "zero_shot"
    json.dumps(result)
    assert ctx.of_kind("progress")[-1]["progress"]["step"] == len(ROWS)


def test_8bit_says_how_many_layers_are_8bit(inputs, tmp_path):
    result = run(context(inputs, tmp_path, quantization="8bit", precision="auto", limit=1))
    assert result["quantized_layers"] == 14
    assert result["quantization"] == "8bit"


def test_a_stopped_evaluation_goes_on_with_the_rows_that_are_missing(inputs, tmp_path):
    first = context(inputs, tmp_path / "first", limit=None)
    seen = first.row

    def stop_after_two(index, data):
        seen(index, data)
        if len(first.rows) == 2:
            first.stop = "drain"

    first.row = stop_after_two
    with pytest.raises(Stopped):
        run(first)
    durable = list(first.rows.items())[:2]
    second = context(inputs, tmp_path / "second", rows=durable)
    result = run(second)
    assert set(second.rows) == set(range(len(ROWS))) - {index for index, _ in durable}
    assert result["resumed_rows"] == 2


OF_THE_ROWS = (
    *("examples", "accuracy", "execution_accuracy", "exact_match", "by_hardness", "by_language"),
    *("not_a_query", "invalid_sql", "errors", "error_samples"),
)


@pytest.mark.parametrize("kept", [1, 4])
def test_the_figures_of_a_resumed_evaluation_are_those_of_all_its_rows(inputs, tmp_path, kept):
    whole = context(inputs, tmp_path / "whole")
    expected = run(whole)
    # Half of what is kept was right, which these nonsense answers never are by themselves.
    left = {index: whole.rows[index] for index in list(whole.rows)[:kept]}
    right = {"correct": True, "error_class": None, "executes": True, "is_query": True}
    left = {index: row | (right if index % 2 else {}) for index, row in left.items()}
    resumed = context(inputs, tmp_path / "resumed", rows=list(left.items()))
    result = run(resumed)
    rows = [({**resumed.rows, **left})[index] for index in range(len(ROWS))]
    wanted = summarise(rows)
    assert {name: result[name] for name in OF_THE_ROWS} == {n: wanted[n] for n in OF_THE_ROWS}
    assert result["examples"] == len(ROWS) and result["resumed_rows"] == kept
    assert result["latency_seconds"].keys() == expected["latency_seconds"].keys()
    progress = resumed.of_kind("progress")[-1]["progress"]
    assert (progress["step"], progress["total"]) == (len(ROWS), len(ROWS))
    assert progress["accuracy"] == wanted["accuracy"]["value"]


def test_an_evaluation_whose_rows_are_all_there_asks_nothing(inputs, tmp_path):
    first = context(inputs, tmp_path / "first")
    done = run(first)
    second = context(inputs, tmp_path / "second", rows=list(first.rows.items()))
    again = run(second)
    assert second.rows == {}
    assert again["execution_accuracy"] == done["execution_accuracy"]
    assert again["trunk_tokens"] == 0


def test_a_limited_sample_is_the_same_for_the_same_seed(inputs, tmp_path):
    one = context(inputs, tmp_path / "one", limit=2, seed=5)
    other = context(inputs, tmp_path / "other", limit=2, seed=5)
    run(one), run(other)
    assert sorted(one.rows) == sorted(other.rows) == sample(len(ROWS), 2, 5)
    assert sample(100, 10, 1) != sample(100, 10, 2)
    assert sample(3, 10, 1) == [0, 1, 2]


def completion(text, **changes):
    values = {
        "id": 0,
        "token_ids": [1],
        "text": text,
        "prompt_tokens": 5,
        "completion_tokens": 1,
        "latency_seconds": 0.1,
        "finish_reason": "stop",
        **changes,
    }
    return Completion(**values)


def judged(text, *, number=0, kind="sql", runner=None, **changes):
    example = {**ROWS[number], "line": number + 1}
    return verdict(example, completion(text, **changes), kind=kind, dialect="sqlite", runner=runner)


@pytest.mark.parametrize(
    ("number", "text", "correct", "klass"),
    [
        (0, "SELECT COUNT(id) FROM customers", True, None),
        (0, "Here:\n```sql\nselect count(*) from customers;\n```", True, None),
        (0, "SELECT COUNT(*) FROM clients", False, "unknown_table"),
        (0, "SELECT COUNT(*) FRO customers", False, "syntax"),
        (0, "I do not know.", False, "not_a_query"),
        (0, "DROP TABLE customers", False, "forbidden"),
        (1, "SELECT name FROM customers WHERE id = 2", True, None),
        (1, "SELECT name FROM customers WHERE city = 'Beijing'", False, "empty"),
        (1, "SELECT name, city FROM customers WHERE id = 2", False, "wrong_columns"),
        (2, "SELECT name FROM customers ORDER BY name DESC", False, "wrong_rows"),
        (3, "SELECT city FROM customers ORDER BY city DESC", True, None),
    ],
)
def test_answers_are_judged_by_what_they_return(shop, number, text, correct, klass):
    with SqlRunner(shop) as runner:
        row = judged(text, number=number, runner=runner)
    assert (row["correct"], row["error_class"]) == (correct, klass)
    assert row["answer"] == text


def test_without_a_database_equal_after_normalisation_is_correct():
    equal = judged("select count( * ) from customers")
    assert equal["correct"] and equal["exact_match"] and equal["executes"] is None
    other = judged("SELECT COUNT(id) FROM customers")
    assert not other["correct"] and other["is_query"]
    assert judged("nothing")["error_class"] == "not_a_query"


def test_text_is_right_when_it_is_the_same():
    row = judged(" SELECT COUNT(*) FROM customers\n", kind="instruction")
    assert row["correct"] and row["executes"] is None and row["is_query"] is None
    assert judged("no", kind="chat")["error_class"] == "wrong_answer"


def test_a_prompt_that_was_too_long_is_wrong_by_its_own_class(shop):
    with SqlRunner(shop) as runner:
        problem = Problem("prompt_too_long", "the prompt has 9999 tokens")
        row = judged("", runner=runner, error=problem, finish_reason="error")
    assert row["error_class"] == "prompt_too_long"
    assert "9999" in row["message"]
    assert row["executes"] is False and row["correct"] is False
    unexecuted = judged("", error=problem, finish_reason="error")
    assert unexecuted["executes"] is None and unexecuted["is_query"] is False


def test_instruction_data_is_evaluated_without_sql(inputs, tmp_path):
    rows = [{"question": f"Say {n}", "answer": str(n), "split": "test"} for n in range(3)]
    dataset = build_tiny_dataset(tmp_path / "texts", rows, kind="instruction")
    ctx = context({"model": inputs["model"], "dataset": dataset}, tmp_path, kind="instruction")
    result = run(ctx)
    assert result["execution_accuracy"] is None
    assert result["exact_match"]["total"] == 3
    assert result["prompt"] == "chat"
