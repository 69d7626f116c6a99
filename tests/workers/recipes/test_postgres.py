"""A recipe on a PostgreSQL database: the secret it is told stays in memory, and what ends it when
the database goes away says who can mend that. The other recipes open it by the same call."""

import json
from pathlib import Path

import pytest

from core.databases.models import TargetDatabase
from core.errors import Unavailable, WrongState
from core.jobs.types.databases import database_inputs, database_secrets
from core.sql.postgres.introspect import introspect_postgres
from core.sql.postgres.runner import PostgresRunner
from tests.targets import PASSWORD, Target, TargetServer
from workers.context import LocalContext, Spec
from workers.recipes.prepare import run
from workers.runner import classify

SHOP = "CREATE TABLE 客户 (id int PRIMARY KEY, name text); INSERT INTO 客户 VALUES (1, 'Ann')"


@pytest.fixture(scope="module")
def target(target_server: TargetServer) -> Target:
    return target_server.new_database(SHOP)


def context(folder: Path, target: Target, dsn: str) -> LocalContext:
    file = folder / "pairs.jsonl"
    rows = [
        {"question": f"谁的编号大于{n}?", "sql": f"SELECT name FROM 客户 WHERE id > {n}"}
        for n in range(20)
    ]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    file.write_text("\n".join(lines), encoding="utf-8")
    with PostgresRunner(target.dsn, trusted=True) as runner:
        schema = introspect_postgres(runner).to_dict()
    params = {
        "filename": "pairs.jsonl",
        "sql_dialect": "postgres",
        "database": {"dialect": "postgres", "schema": schema},
    }
    return LocalContext(params, {"file": file}, folder / "work", secrets={"dsn": dsn})


def test_gold_is_executed_and_the_secret_written_nowhere(tmp_path: Path, target: Target) -> None:
    ctx = context(tmp_path, target, target.dsn)
    result = run(ctx)
    assert result["status"] == "ready", result["report"]
    assert result["statistics"]["sql"]["executed"] == 20
    assert "canary" not in json.dumps(ctx.said) + json.dumps(result) + repr(ctx) + repr(ctx.spec)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 3
    assert not [path for path in written if b"canary" in path.read_bytes()]


@pytest.mark.parametrize(
    ("change", "error", "klass"),
    [
        ((":{port}/", ":1/"), Unavailable, "infra"),  # may come back: tried again
        (("reader_", "nobody_"), WrongState, "config"),
    ],
)
def test_a_database_that_is_away_ends_a_job_with_its_class_and_no_secret(
    tmp_path: Path, target: Target, change: tuple[str, str], error: type[Exception], klass: str
) -> None:
    old, new = (part.format(port=target.port) for part in change)
    with pytest.raises(error) as ended:
        run(context(tmp_path, target, target.dsn.replace(old, new, 1)))
    failure = classify(ended.value)
    assert failure.klass == klass
    assert target.name in failure.message and "canary" not in failure.message


def test_a_spec_tells_the_dsn_and_does_not_show_it() -> None:
    database = TargetDatabase(id="db_1", dsn=f"postgresql://r:{PASSWORD[:9]}@h/d")
    secrets = database_secrets(database)
    assert secrets == {"dsn": database.dsn} and database_inputs(database) == {}
    spec = Spec("job_1", "prepare", {}, {}, "/tmp", secrets=secrets)
    assert "canary" not in repr(spec)
