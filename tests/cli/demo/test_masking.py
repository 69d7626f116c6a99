"""Masks replace values by their kind and leave the wording."""

import pytest

from cli.demo.masking import QuestionMask, mask_sql


@pytest.mark.parametrize(
    "question, masked",
    [
        ("Top 5 VIP customers in May 2024", "Top <n> <lvl> customers in <p>"),
        ("2024年5月华东线上下单的买家", "<p><rg><ch>下单的买家"),
        ("2023财年净收入超过2200元", "<fy>净收入超过<n>元"),
        ("Sales of toy products in fiscal 2021", "Sales of <cat> products in <fy>"),
        ("Net revenue of West End in 2025", "Net revenue of <store> in <p>"),
        ("How many regular customers in Northeast China?", "How many <lvl> customers in <rg>?"),
    ],
)
def test_a_question_becomes_its_wording(sales_database, question, masked):
    assert QuestionMask(sales_database)(question) == masked


def test_names_of_all_kinds_can_share_one_mask(sales_database):
    mask = QuestionMask(sales_database)
    assert mask("Net revenue of West End", one_name=True) == "Net revenue of <name>"


def test_a_query_becomes_its_pattern():
    sql = "select sum(amt-disc)/100.0 from orders where st='P7' and dt like '2024%' limit 5"
    assert mask_sql(sql) == "select sum(amt-disc)/? from orders where st=? and dt like ? limit ?"
