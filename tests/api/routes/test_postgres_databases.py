"""Registering a PostgreSQL database by its DSN, reading it anew, asking it; its secret stays."""

import logging
import uuid

import pytest
from fastapi.testclient import TestClient

from core.databases import service
from core.databases.models import TargetDatabase
from core.db import get_database
from core.settings import get_settings
from tests.targets import GRANTS, PASSWORD, Target, TargetServer

SCRIPT = """
CREATE TABLE 客户 (id int PRIMARY KEY, 姓名 text, rating float8, photo bytea);
INSERT INTO 客户 VALUES (1, '王伟', 'NaN', '\\xff00'), (2, 'Ann', 1.5, NULL);
"""

# What the platform's own database is makes no difference to what is refused here.
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture(scope="module")
def target(target_server: TargetServer) -> Target:
    return target_server.new_database(SCRIPT)


def register(client: TestClient, dsn: str, name: str = "shop", **headers: str):
    return client.post("/v1/databases", json={"name": name, "dsn": dsn}, headers=headers)


def test_a_dsn_becomes_a_database_with_its_schema(client: TestClient, target: Target) -> None:
    made = register(client, target.dsn)
    assert made.status_code == 201, made.text
    body = made.json()
    assert (body["dialect"], body["tables"], body["sha256"]) == ("postgres", ["客户"], None)
    place = f"127.0.0.1:{target.port}/{target.name}"
    assert body["dsn"] == f"postgresql://reader_{target.name}:***@{place}"
    assert body["bytes"] > 1_000_000
    schema = client.get("/v1/databases/shop/schema").json()
    assert schema["prompt"].startswith("客户(id pk, 姓名 text: ")
    assert client.get(f"/v1/databases/{body['id']}").json() == body


def test_a_query_is_answered_and_what_does_more_than_read_is_refused(
    client: TestClient, target: Target
) -> None:
    register(client, target.dsn)

    def ask(sql: str) -> dict:
        return client.post("/v1/databases/shop/query", json={"sql": sql}).json()

    answer = ask("select 姓名, rating, photo from 客户 order by id")
    assert answer["rows"] == [["王伟", "nan", "x'ff00'"], ["Ann", 1.5, None]]
    assert ask("delete from 客户")["error"]["class"] == "forbidden"
    assert ask("select pg_sleep(10)")["error"]["class"] == "forbidden"
    assert ask("select nothing from 客户")["error"]["class"] == "unknown_column"


@on_sqlite
def test_a_role_that_can_write_is_refused_with_the_grants_that_are_right(
    client: TestClient, target: Target
) -> None:
    role = f"writer_{uuid.uuid4().hex[:8]}"
    answer = register(client, target.add_role(role, GRANTS, "GRANT INSERT ON 客户 TO {role}"))
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("role_can_write", "dsn")
    assert "客户" in error["message"] and "GRANT SELECT" in error["message"]
    assert client.get("/v1/databases").json()["data"] == []


@on_sqlite
@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"name": "shop"}, "dsn", "missing"),
        ({"name": "shop", "dsn": PASSWORD}, "dsn", "invalid_dsn"),
        ({"name": "shop", "dsn": [PASSWORD]}, "dsn", "string_type"),
        ({"name": "shop", "dsn": PASSWORD * 1000}, "dsn", "string_too_long"),
        ({"name": "Shop!", "dsn": "{dsn}"}, "name", "invalid_input"),
        ({"name": "shop", "dsn": "{dsn}", "password": PASSWORD}, "password", "extra_forbidden"),
        ({"name": "shop", "dsn": "{dsn}\u0000"}, None, "value_error"),
        ({"name": "shop", "dsn": "{wrong}"}, "dsn", "database_refused"),
        ({"name": "shop", "dsn": "{away}"}, "dsn", "database_away"),
    ],
)
def test_what_can_t_be_registered_is_told_without_its_secret(
    client: TestClient, target: Target, body: dict, param: str | None, code: str
) -> None:
    given = {
        "{dsn}": target.dsn,
        "{wrong}": target.dsn_of("postgres", "wrong" + PASSWORD),
        "{away}": target.dsn.replace(f":{target.port}/", ":1/"),
    }
    if isinstance(body.get("dsn"), str):
        for name, dsn in given.items():
            body = body | {"dsn": body["dsn"].replace(name, dsn)}
    answer = client.post("/v1/databases", json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, code), error
    assert PASSWORD not in answer.text and "canary" not in answer.text


@on_sqlite
def test_a_body_that_is_no_json_is_refused(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    answer = client.post("/v1/databases", content=b'{"dsn": "canary', headers=headers)
    assert answer.status_code == 400
    assert "canary" not in answer.text


@on_sqlite
def test_an_operator_says_which_hosts_are_open(
    client: TestClient, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(client, target.dsn)
    monkeypatch.setattr(get_settings(), "target_hosts", "*.db.example.com, 10.1.2.*")
    refused = register(client, target.dsn, name="second")
    assert refused.json()["error"]["code"] == "host_not_allowed"
    asked = client.post("/v1/databases/shop/query", json={"sql": "select 1"})
    assert asked.json()["error"]["code"] == "host_not_allowed"
    monkeypatch.setattr(get_settings(), "target_hosts", "127.0.0.*")
    assert client.post("/v1/databases/shop/query", json={"sql": "select 1"}).status_code == 200


def test_a_refresh_reads_the_schema_anew_and_takes_a_new_password(
    client: TestClient, target_server: TargetServer
) -> None:
    target = target_server.new_database(SCRIPT)
    made = register(client, target.dsn).json()
    role = f"reader_{target.name}"
    target.execute(f"CREATE TABLE 订单 (id int); GRANT SELECT ON 订单 TO {role}")
    target.execute(f"ALTER ROLE {role} PASSWORD 'fresh'")

    away = client.post("/v1/databases/shop/query", json={"sql": "select 1"})
    assert away.status_code == 400
    assert away.json()["error"]["code"] == "database_refused"
    assert "refresh" in away.json()["error"]["message"]
    stale = client.post("/v1/databases/shop/refresh")
    assert stale.json()["error"]["code"] == "database_refused"

    fresh = client.post("/v1/databases/shop/refresh", json={"dsn": target.dsn_of(role, "fresh")})
    assert fresh.status_code == 200, fresh.text
    assert fresh.json()["tables"] == ["客户", "订单"]
    assert fresh.json()["id"] == made["id"]
    asked = client.post("/v1/databases/shop/query", json={"sql": "select count(*) from 订单"})
    assert asked.json()["rows"] == [[0]]


def test_a_refresh_without_a_dsn_writes_none_over_a_newer_one(
    client: TestClient, target_server: TargetServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = target_server.new_database(SCRIPT)
    register(client, target.dsn)
    newer = target.add_role(f"newer_{uuid.uuid4().hex[:8]}", GRANTS)
    inspect = service.inspect_dsn

    def meanwhile(dsn: str) -> service.Found:
        monkeypatch.setattr(service, "inspect_dsn", inspect)
        found = inspect(dsn)
        moved = client.post("/v1/databases/shop/refresh", json={"dsn": newer})
        assert moved.status_code == 200, moved.text
        return found

    monkeypatch.setattr(service, "inspect_dsn", meanwhile)
    late = client.post("/v1/databases/shop/refresh")
    assert late.status_code == 409
    assert late.json()["error"]["code"] == "database_changed"
    with get_database().reading() as session:
        assert session.query(TargetDatabase).one().dsn == newer
    assert client.post("/v1/databases/shop/refresh").status_code == 200


@on_sqlite
def test_a_refresh_looks_at_the_role_again(client: TestClient, target_server: TargetServer) -> None:
    target = target_server.new_database(SCRIPT)
    register(client, target.dsn)
    target.execute(f"GRANT DELETE ON 客户 TO reader_{target.name}")
    answer = client.post("/v1/databases/shop/refresh")
    assert answer.json()["error"]["code"] == "role_can_write"


@on_sqlite
def test_the_platform_s_own_database_is_none_to_ask(
    client: TestClient, target_server: TargetServer
) -> None:
    names = ("alembic_version", "api_keys", "attempts", "databases", "jobs")
    script = "".join(f"CREATE TABLE {name} (id int);" for name in names)
    answer = register(client, target_server.new_database(script).dsn)
    assert answer.json()["error"]["code"] == "own_database"


def test_the_same_request_twice_makes_one_database(client: TestClient, target: Target) -> None:
    headers = {"Idempotency-Key": "once"}
    first = register(client, target.dsn, **headers)
    again = register(client, target.dsn, **headers)
    assert again.text == first.text
    assert again.headers["idempotent-replayed"] == "true"
    assert len(client.get("/v1/databases").json()["data"]) == 1


@on_sqlite
def test_a_repeated_registration_is_answered_without_a_look_at_the_server(
    client: TestClient, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {"Idempotency-Key": "once"}
    first = register(client, target.dsn, **headers)

    def away(dsn: str) -> None:
        raise AssertionError("the server was asked again")

    monkeypatch.setattr(service, "inspect_dsn", away)
    again = register(client, target.dsn, **headers)
    assert (again.status_code, again.text) == (201, first.text)
    assert again.headers["idempotent-replayed"] == "true"


def test_the_secret_is_in_no_answer_no_log_and_one_column_alone(
    client: TestClient, target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answers = [
        register(client, target.dsn),
        register(client, target.dsn),  # the name is taken
        client.get("/v1/databases"),
        client.get("/v1/databases/shop"),
        client.get("/v1/databases/shop/schema"),
        client.post("/v1/databases/shop/query", json={"sql": "select current_user"}),
        client.post("/v1/databases/shop/refresh"),
    ]
    assert all("canary" not in answer.text for answer in answers)
    assert "canary" not in caplog.text
    with get_database().reading() as session:
        row = session.query(TargetDatabase).one()
        assert row.dsn == target.dsn
        assert "canary" not in f"{row!r} {row.schema}"


def test_another_project_can_neither_ask_nor_refresh_it(
    client: TestClient, stranger: TestClient, target: Target
) -> None:
    made = register(client, target.dsn).json()
    for path in ("query", "refresh"):
        answer = stranger.post(f"/v1/databases/{made['id']}/{path}", json={"sql": "select 1"})
        assert answer.status_code == (404 if path == "query" else 400)
    assert stranger.post(f"/v1/databases/{made['id']}/refresh").status_code == 404
