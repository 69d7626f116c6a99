"""Which roles a database may be asked with; a real server says what each may do."""

import pytest

from core.errors import InvalidInput
from core.sql.postgres.role import require_reader
from core.sql.postgres.runner import PostgresRunner
from tests.targets import GRANTS, Target, TargetServer

SCRIPT = """
CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, total numeric);
CREATE SCHEMA sales;
CREATE VIEW big AS SELECT * FROM orders WHERE total > 10;
CREATE SEQUENCE numbers;
"""


@pytest.fixture(scope="module")
def target(target_server: TargetServer) -> Target:
    return target_server.new_database(SCRIPT)


def judged(dsn: str) -> None:
    with PostgresRunner(dsn, trusted=True) as runner:
        require_reader(runner)


def test_a_role_that_can_only_read_is_taken(target: Target) -> None:
    judged(target.dsn)


def test_a_member_of_pg_read_all_data_can_only_read(target: Target) -> None:
    judged(target.add_role("all_reader", "GRANT pg_read_all_data TO {role}"))


@pytest.mark.parametrize(
    ("role", "options", "grants", "said"),
    [
        ("boss", "SUPERUSER", (), "is a superuser"),
        ("maker", "CREATEROLE", (), "may create roles"),
        ("builder", "CREATEDB", (), "may create databases"),
        ("mirror", "REPLICATION", (), "may replicate"),
        ("writer1", "", ("GRANT INSERT ON orders TO {role}",), "may write to orders"),
        ("writer2", "", ("GRANT UPDATE (total) ON orders TO {role}",), "may write to orders"),
        ("writer3", "", ("GRANT DELETE ON big TO {role}",), "may write to big"),
        ("writer4", "", ("GRANT TRUNCATE ON orders TO {role}",), "may write to orders"),
        ("writer5", "", ("GRANT USAGE ON SEQUENCE numbers TO {role}",), "sequence numbers"),
        ("creator1", "", ("GRANT CREATE ON SCHEMA sales TO {role}",), "create in schema sales"),
        ("creator2", "", ('GRANT CREATE ON DATABASE "{database}" TO {role}',), "in database"),
        ("owner1", "", ("CREATE SCHEMA own1 AUTHORIZATION {role}",), "owns schema own1"),
        (
            "owner2",
            "",
            (
                "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
                "ALTER FUNCTION mine() OWNER TO {role}",
            ),
            "owns function mine()",
        ),
        (
            "owner3",
            "",
            ("CREATE TABLE theirs (a int)", "ALTER TABLE theirs OWNER TO {role}"),
            "owns table theirs",
        ),
        ("program", "", ("GRANT pg_execute_server_program TO {role}",), "pg_execute_server"),
        ("files", "NOINHERIT", ("GRANT pg_read_server_files TO {role}",), "pg_read_server_files"),
        ("all_writer", "", ("GRANT pg_write_all_data TO {role}",), "pg_write_all_data"),
        # What it could become by SET ROLE is its own.
        (
            "disguised",
            "NOINHERIT",
            ("CREATE ROLE strong SUPERUSER", "GRANT strong TO {role}"),
            "is a superuser",
        ),
        (
            "group_member",
            "NOINHERIT",
            ("CREATE ROLE hand", "GRANT UPDATE ON orders TO hand", "GRANT hand TO {role}"),
            "may write to orders",
        ),
        (
            "linked",
            "",
            (
                "CREATE FOREIGN DATA WRAPPER w",
                "CREATE SERVER far FOREIGN DATA WRAPPER w",
                "GRANT USAGE ON FOREIGN SERVER far TO {role}",
            ),
            "foreign tables of server far",
        ),
    ],
)
def test_a_role_that_may_do_more_is_refused_with_what_it_may_and_what_is_right(
    target: Target, role: str, options: str, grants: tuple[str, ...], said: str
) -> None:
    dsn = target.add_role(role, GRANTS, *grants, options=options)
    with pytest.raises(InvalidInput) as refused:
        judged(dsn)
    message = refused.value.message
    assert (refused.value.code, refused.value.param) == ("role_can_write", "dsn")
    assert said in message, message
    assert "GRANT SELECT ON ALL TABLES IN SCHEMA public TO tuneyard_reader" in message
    assert f'GRANT CONNECT ON DATABASE "{target.name}"' in message
    assert "canary" not in message


def test_a_schema_that_everybody_may_create_in_is_told_with_its_revoke(
    target_server: TargetServer,
) -> None:
    target = target_server.new_database("GRANT CREATE ON SCHEMA public TO PUBLIC")
    with pytest.raises(InvalidInput, match="REVOKE CREATE ON SCHEMA public FROM PUBLIC"):
        judged(target.dsn)


def test_the_statements_of_a_refusal_make_a_role_that_is_taken(target_server: TargetServer) -> None:
    target = target_server.new_database(SCRIPT)
    writer = target.add_role(f"w_{target.name}", GRANTS, "GRANT INSERT ON orders TO {role}")
    with pytest.raises(InvalidInput) as refused:
        judged(writer)
    advice = refused.value.message.partition(" makes one by: ")[2].partition(" Then register")[0]
    role = f"advised_{target.name}"
    target.execute(advice.replace("tuneyard_reader", role).replace("…", "simple"))
    judged(target.dsn_of(role, "simple"))
