"""Registering a SQLite file, reading its schema, asking it in the sandbox."""

import sqlite3
from pathlib import Path

import pytest
from fastapi.testclient import TestClient


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE 客户(id INTEGER PRIMARY KEY, 姓名 TEXT);"
            "INSERT INTO 客户 VALUES (1, '王伟'), (2, 'Ann');"
        )
    return path


def register(client: TestClient, path: Path, **fields: str):
    return client.post("/v1/databases", data=fields, files={"file": path.open("rb")})


def test_a_sqlite_file_becomes_a_database_with_its_schema(client: TestClient, shop: Path) -> None:
    made = register(client, shop, name="shop")
    assert made.status_code == 201, made.text
    assert made.json()["tables"] == ["客户"]
    schema = client.get("/v1/databases/shop/schema").json()
    assert "姓名" in schema["prompt"]
    assert [row["name"] for row in client.get("/v1/databases").json()["data"]] == ["shop"]


def test_a_field_that_is_not_known_is_refused(client: TestClient, shop: Path) -> None:
    answer = register(client, shop, nmae="shop")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "nmae"
    assert client.get("/v1/databases").json()["data"] == []


def test_a_query_is_answered_read_only(client: TestClient, shop: Path) -> None:
    register(client, shop, name="shop")
    answer = client.post("/v1/databases/shop/query", json={"sql": "select 姓名 from 客户"}).json()
    assert answer["rows"] == [["王伟"], ["Ann"]]
    refused = client.post("/v1/databases/shop/query", json={"sql": "delete from 客户"}).json()
    assert refused["error"]["class"] == "forbidden"


def test_bytes_are_shown_as_a_blob_literal(client: TestClient, shop: Path) -> None:
    register(client, shop, name="shop")
    answer = client.post("/v1/databases/shop/query", json={"sql": "select x'ff00'"})
    assert answer.json()["rows"] == [["x'ff00'"]]


def test_what_is_no_sqlite_file_is_refused_and_leaves_nothing(
    client: TestClient, tmp_path: Path, data_dir: Path
) -> None:
    fake = tmp_path / "x.sqlite"
    fake.write_bytes(b"hello" * 100)
    answer = register(client, fake)
    assert answer.status_code == 400
    assert "SQLite" in answer.json()["error"]["message"]
    assert list((data_dir / "uploads").iterdir()) == []
    assert not (data_dir / "storage").exists()


def test_a_taken_name_is_refused_and_leaves_no_second_file(
    client: TestClient, shop: Path, data_dir: Path
) -> None:
    register(client, shop, name="shop")
    answer = register(client, shop, name="shop")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "name_taken"
    assert len([path for path in (data_dir / "storage").rglob("*") if path.is_file()]) == 1


@pytest.mark.parametrize(
    ("filename", "name"), [("Sales 2024.sqlite", "sales-2024"), ("客户.sqlite", "database")]
)
def test_without_a_name_the_file_gives_one(
    client: TestClient, shop: Path, filename: str, name: str
) -> None:
    made = register(client, shop.rename(shop.with_name(filename)))
    assert (made.status_code, made.json()["name"]) == (201, name)
    taken = register(client, shop.with_name(filename))
    assert (taken.status_code, taken.json()["error"]["code"]) == (400, "name_taken")


def test_a_given_name_that_is_none_is_refused_before_the_file_is_stored(
    client: TestClient, shop: Path, data_dir: Path
) -> None:
    answer = register(client, shop, name="Sales 2024")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "name")
    assert list((data_dir / "uploads").iterdir()) == []
    assert not (data_dir / "storage").exists()


def test_another_projects_database_is_not_found(
    client: TestClient, stranger: TestClient, shop: Path
) -> None:
    made = register(client, shop, name="shop").json()
    for path in (made["id"], "shop", f"{made['id']}/schema"):
        assert stranger.get(f"/v1/databases/{path}").status_code == 404
