"""A whole fine-tune, evaluation and batch on a PostgreSQL database; then its password changes."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli.client import JobEnded
from tests.e2e.conftest import Platform
from tests.e2e.shop import CITIES, pairs, write_jsonl
from tests.targets import PASSWORD, Target, TargetServer

SHOP = f"""
CREATE TABLE customers (id int PRIMARY KEY, name text, city text);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int REFERENCES customers, total numeric);
INSERT INTO customers SELECT n, 'N' || n, (ARRAY{CITIES})[n % {len(CITIES)} + 1]
    FROM generate_series(0, 59) AS n;
INSERT INTO orders SELECT n, n, n * 1.5 FROM generate_series(0, 59) AS n;
"""


@pytest.fixture(scope="module")
def target(target_server: TargetServer) -> Target:
    return target_server.new_database(SHOP)


@pytest.fixture(scope="module")
def dataset(platform: Platform, target: Target, tmp_path_factory) -> dict[str, Any]:
    """Pairs whose gold is MySQL's, so that prepare has to translate and to execute them."""
    client = platform.client
    client.post("/v1/databases", {"name": "pg-shop", "dsn": target.dsn})
    of_mysql = ("COUNT(*)", "IFNULL(COUNT(*), 0)")
    rows = [pair | {"sql": pair["sql"].replace(*of_mysql)} for pair in pairs()]
    file = write_jsonl(tmp_path_factory.mktemp("pg") / "pairs.jsonl", rows)
    made = client.upload(
        "/v1/datasets", file, name="pg-pairs", database="pg-shop", model="tiny", sql_dialect="mysql"
    )
    client.wait(made["job"])
    return client.get("/v1/datasets/pg-pairs")


def rows_of(platform: Platform, job: dict[str, Any]) -> list[dict[str, Any]]:
    return [row["data"] for row in platform.client.pages(f"/v1/jobs/{job['id']}/results")]


def test_prepare_train_evaluate_and_generate_run_against_it(
    platform: Platform, dataset: dict[str, Any]
) -> None:
    client = platform.client
    assert dataset["status"] == "ready", dataset["report"]
    assert dataset["statistics"]["sql"]["executed"] == 60
    examples = client.get("/v1/datasets/pg-pairs/examples", split="train", limit=1)["data"]
    assert "COALESCE(COUNT(*), 0)" in examples[0]["answer"]

    train = client.submit("train", model="tiny", dataset="pg-pairs", adapter="pg-sql", epochs=1)
    adapter = client.wait(train["id"])["result"]["adapter"]

    judged = client.wait(
        client.submit(
            "evaluate", model=adapter, dataset="pg-pairs", split="validation", max_new_tokens=24
        )["id"]
    )
    classes = {row["error_class"] for row in rows_of(platform, judged)}
    assert "gold_fails" not in classes and classes <= {
        None,
        "syntax",
        "not_a_query",
        "forbidden",
        "wrong_rows",
        "wrong_columns",
        "unknown_table",
        "unknown_column",
        "runtime",
        "empty",
    }

    asked = [{"id": f"q{n}", "question": f"客户 {n}?"} for n in range(3)]
    batch = client.submit(
        "generate", model=adapter, database="pg-shop", questions=asked, max_new_tokens=12
    )
    done = client.wait(batch["id"])
    assert [row["id"] for row in rows_of(platform, done)] == ["q0", "q1", "q2"]
    assert all(row["executes"] is not None for row in rows_of(platform, done))


def test_a_password_that_changed_ends_a_job_with_its_cause_and_no_secret(
    platform: Platform, target: Target, dataset: dict[str, Any], tmp_path: Path
) -> None:
    target.execute(f"ALTER ROLE reader_{target.name} PASSWORD 'other'")
    client = platform.client
    file = write_jsonl(tmp_path / "again.jsonl", pairs())
    made = client.upload("/v1/datasets", file, name="pg-again", database="pg-shop")
    with pytest.raises(JobEnded) as ended:
        client.wait(made["job"])
    error = ended.value.job["error"]
    assert error["class"] == "config"
    assert "the user or the password is not right" in error["message"]
    attempts = client.get(f"/v1/jobs/{made['job']}/attempts")["data"]
    assert len(attempts) == 1
    events = list(client.pages(f"/v1/jobs/{made['job']}/events"))
    assert "canary" not in json.dumps([ended.value.job, attempts, events])


def test_nothing_that_was_written_holds_the_secret(
    platform: Platform, dataset: dict[str, Any]
) -> None:
    """But the platform's own database, which alone keeps it."""
    secret = PASSWORD.split("/")[0].encode()
    holders = [
        path.relative_to(platform.data_dir).as_posix()
        for path in platform.data_dir.rglob("*")
        if path.is_file() and secret in path.read_bytes()
    ]
    assert all(name.startswith("tuneyard.db") for name in holders), holders
