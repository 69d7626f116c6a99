import json
import time

import pytest

from core.errors import InvalidInput
from core.settings import get_settings
from core.sql import introspect
from core.sql.introspect import introspect_sqlite
from core.sql.schema import ForeignKey, Schema


@pytest.fixture(scope="module")
def schema(shop):
    return introspect_sqlite(shop)


def _table(schema, name):
    return next(table for table in schema.tables if table.name == name)


def _column(schema, table, name):
    return next(column for column in _table(schema, table).columns if column.name == name)


def test_tables_and_views_come_in_the_order_in_which_they_were_made(schema):
    names = [table.name for table in schema.tables]
    assert names == ["regions", "customers", "订单", "lines", "gold"]
    assert [table.is_view for table in schema.tables] == [False] * 4 + [True]
    assert [table.row_count for table in schema.tables] == [3, 5, 5, 3, None]


def test_columns_types_and_primary_keys(schema):
    lines = _table(schema, "lines")
    assert [(c.name, c.type) for c in lines.columns] == [
        ("order_id", "INTEGER"),
        ("place", "INTEGER"),
        ("unit price", "REAL"),
    ]
    assert lines.primary_key == ("order_id", "place")
    assert _table(schema, "订单").primary_key == ("编号",)


def test_foreign_keys_name_their_target_even_where_the_file_leaves_it_out(schema):
    assert _table(schema, "customers").foreign_keys == (
        ForeignKey(("region_id",), "regions", ("id",)),
    )
    assert _table(schema, "订单").foreign_keys == (ForeignKey(("客户",), "customers", ("id",)),)


def test_comments_stand_by_their_table_or_column(schema):
    assert _table(schema, "regions").comment == "where we sell"
    assert _column(schema, "regions", "name").comment == "地区"
    assert _column(schema, "customers", "level").comment == "G = gold, S = silver, N = none"
    assert _column(schema, "customers", "name").comment == ""


def test_codes_are_sampled_in_full_and_the_most_frequent_first(schema):
    status = _column(schema, "订单", "状态")
    assert status.samples == ("已付款", "已取消", "待付款")
    assert status.codes
    assert _column(schema, "customers", "id").samples == ()
    assert _column(schema, "customers", "photo").samples == ()
    assert _column(schema, "customers", "joined").samples[0] == "2024-02-01"


def test_an_open_set_of_values_gives_three_short_samples(tmp_path, make_database):
    rows = ", ".join(f"('name {i:02}', '{'long' * 20}{i}')" for i in range(20))
    path = make_database(
        tmp_path / "a.sqlite",
        f"CREATE TABLE t (name TEXT, essay TEXT); INSERT INTO t VALUES {rows}, ('name 07', '');",
    )
    name, essay = introspect_sqlite(path).tables[0].columns
    assert name.samples == ("name 07", "name 00", "name 01") and not name.codes
    assert essay.samples == () and not essay.codes


def test_a_schema_survives_json(schema):
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


def test_odd_names_and_generated_columns_are_read(tmp_path, make_database):
    path = make_database(
        tmp_path / "a.sqlite",
        """CREATE TABLE "we""ird 'name" ("a ""b""\" TEXT, c AS (1), "select" TEXT);
        INSERT INTO "we""ird 'name" VALUES ('x', 'y');""",
    )
    table = introspect_sqlite(path).tables[0]
    assert table.name == "we\"ird 'name"
    assert [column.name for column in table.columns] == ['a "b"', "c", "select"]
    assert table.columns[0].samples == ("x",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"CREATE TABLE t (a);\n" * 10, "no SQLite"),
        (b"PK\x03\x04 not a database", "no SQLite"),
        (b"SQLite format 3\x00" + b"\x00" * 5000, "damaged|read"),
    ],
)
def test_what_is_no_database_is_refused_with_a_reason(tmp_path, content, message):
    path = tmp_path / "a.sqlite"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        introspect_sqlite(path)


def test_a_database_without_tables_is_refused(tmp_path, make_database):
    path = make_database(tmp_path / "a.sqlite", "CREATE TABLE t (a); DROP TABLE t;")
    with pytest.raises(InvalidInput, match="no tables"):
        introspect_sqlite(path)


@pytest.mark.parametrize("where", [0.3, 0.6, 0.9])
def test_a_damaged_file_is_refused(tmp_path, make_database, where):
    rows = ", ".join(f"({i}, 'value {i}')" for i in range(5000))
    path = make_database(
        tmp_path / "a.sqlite", f"CREATE TABLE t (a INTEGER, b TEXT); INSERT INTO t VALUES {rows};"
    )
    content = bytearray(path.read_bytes())
    place = int(len(content) * where) // 4096 * 4096
    content[place : place + 4096] = b"\xff" * 4096
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match="damaged|read"):
        introspect_sqlite(path)


def test_a_truncated_file_is_refused(tmp_path, shop):
    path = tmp_path / "a.sqlite"
    path.write_bytes(shop.read_bytes()[:8192])
    with pytest.raises(InvalidInput, match="damaged|read"):
        introspect_sqlite(path)


def test_too_large_a_file_and_too_many_tables_are_refused(tmp_path, shop, monkeypatch):
    monkeypatch.setattr(introspect, "MAX_TABLES", 4)
    with pytest.raises(InvalidInput, match="5 tables; at most 4"):
        introspect_sqlite(shop)
    monkeypatch.setattr(get_settings(), "max_database_bytes", 1000)
    with pytest.raises(InvalidInput, match="at most 1000"):
        introspect_sqlite(shop)


def test_a_hostile_view_does_not_hold_it_up(tmp_path, make_database):
    path = make_database(
        tmp_path / "hostile.sqlite",
        "CREATE TABLE t (a TEXT); CREATE VIEW v AS WITH RECURSIVE c(x) AS"
        " (SELECT 'x' UNION ALL SELECT x || 'x' FROM c) SELECT count(*) AS n FROM c;"
        "CREATE VIEW broken AS SELECT * FROM gone;",
    )
    started = time.monotonic()
    schema = introspect_sqlite(path)
    assert time.monotonic() - started < 4
    assert [table.name for table in schema.tables] == ["t", "v", "broken"]
    assert [column.name for column in schema.tables[1].columns] == ["n"]
    assert schema.tables[2].columns == ()


def test_the_file_is_left_as_it_was(shop):
    before = shop.read_bytes(), sorted(shop.parent.iterdir())
    introspect_sqlite(shop)
    assert (shop.read_bytes(), sorted(shop.parent.iterdir())) == before
