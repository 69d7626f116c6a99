from core.sql.introspect import introspect_sqlite
from core.sql.render import render_schema
from core.sql.schema import Column, ForeignKey, Schema, Table


def test_one_line_a_table_with_keys_codes_and_comments(shop):
    assert render_schema(introspect_sqlite(shop)).splitlines() == [
        "regions(id pk, name text: 'North' 'South' '华东' /* 地区 */) /* where we sell */",
        "customers(id pk, name text: 'Ann' 'Bo' 'O''Neil' '李雷' '韩梅梅', level text: 'G' 'S' 'N'"
        " /* G = gold, S = silver, N = none */, region_id -> regions.id,"
        " joined date: '2024-02-01' '2024-01-05' '2024-03-09', photo blob)",
        "订单(编号 pk, 客户 -> customers.id, 状态 text: '已付款' '已取消' '待付款', 金额 real)",
        'lines(order_id -> 订单.编号, place int, "unit price" real, pk(order_id, place))',
        "view gold(id int, name text, level text, region_id int, joined date, photo blob)",
    ]


def test_of_an_open_set_of_values_one_is_shown():
    column = Column("name", "VARCHAR(50)", samples=("Ann", "Bo", "Cy"))
    assert render_schema(Schema((Table("t", (column,)),))) == "t(name text: 'Ann')"


def test_names_that_need_quotes_have_them():
    columns = (Column("order", "INT"), Column("a-b", ""), Column('x"y', "INT"))
    text = render_schema(Schema((Table("group", columns, primary_key=("a-b",)),)))
    assert text == '"group"("order" int, "a-b" pk, "x""y" int)'


def test_a_key_of_several_columns_stands_behind_them():
    key = ForeignKey(("a", "b"), "u", ("x", "y"))
    table = Table("t", (Column("a", "INT"), Column("b", "INT")), foreign_keys=(key,))
    assert render_schema(Schema((table,))) == "t(a int, b int, (a, b) -> u(x, y))"


def test_a_comment_can_t_end_itself_early():
    table = Table("t", (Column("a", "INT"),), comment="a */ b")
    assert render_schema(Schema((table,))) == "t(a int) /* a * / b */"


def test_it_is_the_same_every_time(shop):
    assert render_schema(introspect_sqlite(shop)) == render_schema(introspect_sqlite(shop))
