"""What is read of a PostgreSQL database, and how a prompt shows it."""

import pytest

from core.errors import InvalidInput
from core.sql.postgres.introspect import introspect_postgres, size_of
from core.sql.postgres.runner import PostgresRunner
from core.sql.render import render_schema
from core.sql.schema import ForeignKey, Schema
from tests.core.sql.postgres_shop import build
from tests.targets import PASSWORD, TargetServer

PROMPT = """\
regions(id pk, name text: 'North' 'South' '华东' /* 地区 */) /* where we sell */
customers(id pk, name text: 'Ann' 'Bo' 'O''Neil' '李雷' '韩梅梅', level level: 'gold' 'silver' 'none', region_id -> regions.id, joined date, photo bytea, tags text[])
订单(编号 pk, 客户 -> customers.id, 状态 text: '已付款' '已取消' '待付款', 金额 num, paid_at datetime, gift bool)
lines(order_id -> 订单.编号, place int, "unit price" real, took interval, pk(order_id, place))
view gold(id int, name text, level level: 'gold' 'silver' 'none', region_id int, joined date, photo bytea, tags text[])
view counts(region_id int, n int)
parts(id int, at date)
hr.staff(id pk, region_id -> regions.id, boss -> hr.staff.id)"""  # noqa: E501


@pytest.fixture(scope="module")
def schema(target_server: TargetServer) -> Schema:
    with PostgresRunner(build(target_server).dsn, trusted=True) as runner:
        assert size_of(runner) > 1_000_000
        return introspect_postgres(runner)


def test_a_prompt_shows_tables_types_keys_comments_and_samples(schema: Schema) -> None:
    assert render_schema(schema) == PROMPT


def test_what_the_role_may_not_read_is_not_there(schema: Schema) -> None:
    names = [table.name for table in schema.tables]
    assert "secrets" not in names and "parts_2024" not in names
    assert schema.dialect == "postgres"


def test_a_table_off_the_search_path_bears_its_schema(schema: Schema) -> None:
    staff = schema.tables[-1]
    assert (staff.namespace, staff.name, staff.row_count) == ("hr", "staff", 2)
    assert staff.foreign_keys[0] == ForeignKey(("boss",), "staff", ("id",), "hr")
    assert all(table.namespace == "" for table in schema.tables[:-1])


def test_it_survives_being_kept_as_json(schema: Schema) -> None:
    assert Schema.from_dict(schema.to_dict()) == schema


def test_rows_are_counted_but_not_those_of_views(schema: Schema) -> None:
    counted = {table.name: table.row_count for table in schema.tables}
    assert (counted["customers"], counted["gold"], counted["counts"]) == (5, None, 3)


def test_the_role_s_search_path_says_which_names_are_bare(target_server: TargetServer) -> None:
    target = build(target_server)
    target.execute(f"ALTER ROLE reader_{target.name} SET search_path = hr, public")
    with PostgresRunner(target.dsn, trusted=True) as runner:
        tables = introspect_postgres(runner).tables
    assert {table.namespace for table in tables} == {""}
    with PostgresRunner(target.dsn) as runner:
        assert runner.run("SELECT count(*) FROM staff").rows == [(2,)]


def test_columns_that_the_role_may_not_read_are_left_out(target_server: TargetServer) -> None:
    target = target_server.new_database("CREATE TABLE people (id int, name text, salary int)")
    role = f"part_{target.name}"
    dsn = target.add_role(role, "GRANT SELECT (id, name) ON people TO {role}")
    target.execute("INSERT INTO people VALUES (1, 'Ann', 9)")
    with PostgresRunner(dsn, trusted=True) as runner:
        (people,) = introspect_postgres(runner).tables
    assert [(column.name, column.samples) for column in people.columns] == [
        ("id", ()),
        ("name", ("Ann",)),
    ]


def test_a_database_of_which_nothing_can_be_read_is_refused(target_server: TargetServer) -> None:
    target = target_server.new_database()
    with (
        PostgresRunner(target.dsn, trusted=True) as runner,
        pytest.raises(InvalidInput, match="GRANT SELECT") as refused,
    ):
        introspect_postgres(runner)
    assert refused.value.code == "no_tables"
    assert PASSWORD not in refused.value.message


def test_a_view_that_never_ends_costs_nothing(target_server: TargetServer) -> None:
    target = target_server.new_database(
        "CREATE TABLE t (a int); CREATE VIEW slow AS SELECT pg_sleep(1000)::text AS a;"
    )
    with PostgresRunner(target.dsn, trusted=True) as runner:
        names = [table.name for table in introspect_postgres(runner).tables]
    assert names == ["t", "slow"]
