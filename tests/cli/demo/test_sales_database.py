"""The sales database is large, coherent, bilingual, and the same for the same seed."""

import sqlite3

import pytest

from cli.demo.sales_database import build_sales_database


@pytest.fixture
def ask(sales_database):
    connection = sqlite3.connect(f"file:{sales_database}?mode=ro", uri=True)
    yield lambda sql: connection.execute(sql).fetchall()
    connection.close()


def dump(path) -> list[str]:
    connection = sqlite3.connect(path)
    lines = list(connection.iterdump())
    connection.close()
    return lines


def test_the_same_seed_gives_the_same_rows_and_another_seed_others(sales_database, tmp_path):
    build_sales_database(tmp_path / "again.sqlite")
    build_sales_database(tmp_path / "other.sqlite", seed=8)
    assert dump(tmp_path / "again.sqlite") == dump(sales_database)
    assert dump(tmp_path / "other.sqlite") != dump(sales_database)


def test_an_existing_file_is_replaced(sales_database, tmp_path):
    path = tmp_path / "twice.sqlite"
    build_sales_database(path, seed=8)
    build_sales_database(path)
    assert dump(path) == dump(sales_database)


def test_the_schema_gives_no_rule_away(ask):
    for (statement,) in ask("select sql from sqlite_master where sql is not null"):
        assert "--" not in statement and "/*" not in statement


@pytest.mark.parametrize("table, column", [("customers", "cname"), ("products", "pname")])
def test_names_are_unique_and_in_both_languages(ask, table, column):
    names = [name for (name,) in ask(f"select {column} from {table}")]
    assert len(names) == len(set(names))
    assert 0.4 < sum(name.isascii() for name in names) / len(names) < 0.6


def test_nobody_orders_before_joining_and_nothing_is_returned_before_its_order(ask):
    assert ask("select count(*) from orders join customers using(cid) where dt<joined") == [(0,)]
    assert ask("select count(*) from returns join orders using(oid) where rdt<=dt") == [(0,)]


def test_an_orders_amounts_are_the_sums_of_its_lines(ask):
    off = """select count(*) from (select o.oid from orders o join sales_records s using(oid)
    where kd<>'D4' group by o.oid having sum(rev)<>amt-disc)"""
    assert ask(off) == [(0,)]


def test_only_orders_that_are_not_unpaid_or_cancelled_count_as_sold(ask):
    assert ask("""select distinct st from orders join sales_records using(oid)
    where kd='D1' order by 1""") == [("P4",), ("P7",)]


def test_closed_stores_and_former_reps_take_no_orders_at_the_end(ask):
    late = """select count(*) from orders join reps using(eid) join stores on stores.sid=orders.sid
    where dt>='2025-07-01' and (gone=1 or shut=1)"""
    assert ask(late) == [(0,)]
