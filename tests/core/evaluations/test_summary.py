"""Figures are counted right, and their intervals are Wilson's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.evaluations.summary import (
    BatchSummary,
    language,
    percentiles,
    share,
    summarise,
    wilson,
)


def row(correct, **changes):
    return {
        "line": 1,
        "question": "How many?",
        "language": "en",
        "gold": "SELECT 1",
        "prediction": "SELECT 1",
        "correct": correct,
        "exact_match": correct,
        "is_query": True,
        "executes": True,
        "hardness": "easy",
        "error_class": None if correct else "wrong_rows",
        "message": "",
        "latency_seconds": 0.5,
        **changes,
    }


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (45, 50, 0.7864, 0.9565), (1, 2, 0.0945, 0.9055)],
)
def test_wilson_intervals_are_the_published_ones(correct, total, low, high):
    assert wilson(correct, total) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(0, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_share_and_stays_within_0_and_1(counts):
    correct, total = counts
    low, high = wilson(correct, total)
    assert 0 <= low <= (correct / total if total else 0.5) <= high <= 1


def test_a_share_of_nothing_is_zero_and_unknown():
    assert share([]) == {"value": 0.0, "low": 0.0, "high": 1.0, "correct": 0, "total": 0}


@pytest.mark.parametrize(
    ("question", "code"),
    [("How many?", "en"), ("有多少?", "zh"), ("How many 客户?", "zh"), ("¿Cuántos?", "en")],
)
def test_a_question_with_chinese_is_chinese(question, code):
    assert language(question) == code


def test_a_summary_counts_by_kind():
    rows = [
        row(True),
        row(True, language="zh", hardness="extra"),
        row(False, error_class="syntax", executes=False, message="near x", hardness="extra"),
        row(False, error_class="not_a_query", is_query=False, executes=False, prediction=None),
    ]
    result = summarise(rows)
    assert result["execution_accuracy"]["correct"] == 2
    assert result["execution_accuracy"]["value"] == 0.5
    assert list(result["by_hardness"]) == ["easy", "extra"]
    assert result["by_hardness"]["extra"]["value"] == 0.5
    assert result["by_language"]["zh"] == share([True])
    assert result["invalid_sql"] == 0.5
    assert result["not_a_query"] == 0.25
    assert result["errors"] == {"syntax": 1, "not_a_query": 1}
    assert [sample["error_class"] for sample in result["error_samples"]] == [
        "syntax",
        "not_a_query",
    ]
    assert result["latency_seconds"]["p50"] == 0.5


def test_text_answers_have_no_execution_accuracy():
    rows = [row(True, is_query=None, executes=None, hardness=None)]
    result = summarise(rows)
    assert result["execution_accuracy"] is None
    assert result["invalid_sql"] is None and result["by_hardness"] == {}
    assert result["accuracy"]["value"] == 1.0


def test_a_summary_of_nothing_does_not_fail():
    assert summarise([])["examples"] == 0
    assert BatchSummary().to_dict()["valid_share"] == 0.0


def test_error_samples_are_bounded_for_each_class():
    rows = [row(False) for _ in range(50)] + [row(False, error_class="timeout")]
    samples = summarise(rows)["error_samples"]
    assert [s["error_class"] for s in samples] == ["wrong_rows"] * 3 + ["timeout"]


def test_percentiles_are_by_nearest_rank():
    found = percentiles([float(n) for n in range(1, 101)])
    assert found == {"mean": 50.5, "p50": 50.0, "p90": 90.0, "p95": 95.0, "max": 100.0}
    assert percentiles([]) == {}


def batch_row(**changes):
    return {
        "is_query": True,
        "executes": True,
        "error": None,
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "latency_seconds": 1.0,
        **changes,
    }


def summarise_batch(rows):
    summary = BatchSummary()
    for one in rows:
        summary.add(one)
    return summary.to_dict()


def test_a_batch_counts_queries_executions_and_errors():
    failed = {"class": "timeout", "message": ""}
    result = summarise_batch(
        [
            batch_row(),
            batch_row(executes=False, error=failed),
            batch_row(is_query=False, executes=False, error={"class": "not_a_query"}),
            batch_row(),
        ]
    )
    assert (result["rows"], result["queries"], result["executed"]) == (4, 3, 2)
    assert result["valid_share"] == 0.5
    assert result["errors"] == {"timeout": 1, "not_a_query": 1}
    assert (result["prompt_tokens"], result["completion_tokens"]) == (40, 20)


def test_without_a_database_a_query_counts_as_valid():
    result = summarise_batch([batch_row(executes=None), batch_row(executes=None, is_query=False)])
    assert result["executed"] is None
    assert result["valid_share"] == 0.5
