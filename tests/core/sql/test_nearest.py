"""Behind an unknown name stands what the database has instead, in the words of both databases."""

import pytest

from core.sql.errors import SqlError
from core.sql.nearest import advice
from core.sql.schema import Column, Schema, Table


def table(name: str, *columns: str, namespace: str = "") -> Table:
    return Table(name, tuple(map(Column, columns)), namespace=namespace)


SHOP = Schema(
    (
        table("customers", "id", "name", "City"),
        table("orders", "id", "customer_id", "状态"),
        table("regions", "id", "name", namespace="geo"),
        table("订单明细", "id"),
    )
)


@pytest.mark.parametrize(
    ("message", "right"),
    [
        ("no such table: custmers", "perhaps customers is meant"),
        ("no such table: main.ORDER", "perhaps orders is meant"),
        ("no such table: 订单", "perhaps 订单明细 is meant"),
        ('relation "region" does not exist', "perhaps geo.regions is meant"),
        ('relation "geo.region" does not exist', "perhaps geo.regions is meant"),
        ("no such table: zebra", "the database has customers, orders, geo.regions, 订单明细"),
        ("关系不存在", "the database has customers, orders, geo.regions, 订单明细"),
    ],
)
def test_a_table_that_is_not_there(message, right):
    assert advice(SqlError("unknown_table", message), SHOP) == right


@pytest.mark.parametrize(
    ("message", "right"),
    [
        ("no such column: c.citty", "perhaps customers.City is meant"),
        ("no such column: customerid", "perhaps orders.customer_id is meant"),
        ('column "nam" does not exist', "perhaps customers.name or geo.regions.name is meant"),
        ("column o.状 does not exist", "perhaps orders.状态 is meant"),
        ("no such column: zebra", None),
        ("ambiguous column name: id", None),
    ],
)
def test_a_column_that_is_not_there(message, right):
    assert advice(SqlError("unknown_column", message), SHOP) == right


def test_of_many_tables_the_first_are_told_and_how_many_more_there_are():
    many = Schema(tuple(table(f"t{n}", "id") for n in range(40)))
    right = "the database has t0, t1, t2, t3, t4, t5, t6, t7 and 32 more"
    assert advice(SqlError("unknown_table", "no such table: zebra"), many) == right


def test_nothing_is_told_of_other_errors_or_without_a_schema():
    assert advice(SqlError("syntax", 'near "SELEC": syntax error'), SHOP) is None
    assert advice(SqlError("unknown_table", "no such table: orders"), Schema(())) is None
