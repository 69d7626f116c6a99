"""Every number that the demo promises of its data holds, and the check can tell when not."""

import dataclasses

import pytest

from cli.demo import sales_check
from cli.demo.masking import QuestionMask
from cli.demo.sales_check import Figure, figures, result_figures, separation_figures


@pytest.fixture(scope="module")
def counted(sales_database, sales_pairs):
    return figures(sales_database, sales_pairs)


def broken(found: list[Figure]) -> set[str]:
    return {figure.name for figure in found if not figure.kept}


def test_every_promise_is_kept(counted):
    assert broken(counted) == set()


@pytest.fixture(scope="module")
def mask(sales_database):
    return QuestionMask(sales_database)


def test_a_test_query_that_training_has_is_caught(sales_pairs, mask):
    tested = next(pair for pair in sales_pairs if pair.split == "test")
    leaked = dataclasses.replace(tested, split="train", question="asked otherwise")
    assert "SQL in two splits" in broken(separation_figures([*sales_pairs, leaked], mask))


def test_a_wording_with_two_patterns_is_caught(sales_pairs, mask):
    pair = next(p for p in sales_pairs if p.question.startswith("Net revenue of sales rep"))
    customer = next(p for p in sales_pairs if p.pattern == "net_revenue_of_customer")
    clash = dataclasses.replace(customer, question=pair.question)
    found = broken(separation_figures([*sales_pairs, clash], mask))
    assert {"questions with two meanings", "wordings with two patterns"} <= found


def test_a_query_that_fails_is_caught(sales_database, sales_pairs):
    wrong = dataclasses.replace(sales_pairs[0], sql="select revenue from sales")
    assert "gold queries that fail" in broken(result_figures(sales_database, [wrong]))


def test_the_command_prints_the_table(capsys, monkeypatch):
    monkeypatch.setattr(sales_check, "figures", lambda *_: [Figure("rows", 5, least=6)])
    monkeypatch.setattr(sales_check, "build_pairs", lambda _: [])
    assert sales_check.main() == 1
    assert capsys.readouterr().out.split() == ["rows", "5", ">=", "6", "BROKEN"]
