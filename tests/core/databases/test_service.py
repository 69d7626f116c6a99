import sqlite3
from pathlib import Path

import pytest

from core.databases import service
from core.db import Database
from core.errors import InvalidInput, NotFound
from core.settings import get_settings
from core.sql.postgres.dsn import read_dsn


def register(database: Database, project_id: str, folder: Path, name: str = "shop") -> str:
    path = folder / f"{name}.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("create table 客户 (id integer primary key, 城市 text)")
        connection.execute("insert into 客户 values (1, '北京')")
    schema, stored = service.inspect_upload(path)
    with database.transaction() as session:
        row = service.register_sqlite(
            session, project_id, name=name, schema=schema, stored=stored, storage_key="k"
        )
        return row.id


def test_a_database_is_found_by_id_and_by_name_with_its_schema(
    database: Database, project_id: str, tmp_path: Path
) -> None:
    database_id = register(database, project_id, tmp_path)
    with database.reading() as session:
        by_name = service.find(session, project_id, "shop")
        assert service.find(session, project_id, database_id) is by_name
        params = service.prompt_params(by_name)
    assert params["dialect"] == "sqlite"
    assert "客户" in params["schema_text"]
    assert "城市" in params["schema_text"]


def test_a_name_is_taken_once_in_a_project(
    database: Database, project_id: str, tmp_path: Path
) -> None:
    register(database, project_id, tmp_path)
    (tmp_path / "again").mkdir()
    with pytest.raises(InvalidInput, match="shop") as refused:
        register(database, project_id, tmp_path / "again")
    assert refused.value.code == "name_taken"


def test_a_database_of_another_project_is_not_there(
    database: Database, project_id: str, tmp_path: Path
) -> None:
    register(database, project_id, tmp_path)
    with database.reading() as session, pytest.raises(NotFound, match="shop"):
        service.find(session, "proj_other", "shop")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database", encoding="utf-8")
    with pytest.raises(InvalidInput, match="SQLite"):
        service.inspect_upload(tmp_path / "text")


@pytest.mark.parametrize(
    ("pattern", "host", "is_open"),
    [
        ("*", "db.example.com", True),
        ("*.db.example.com", "shop.db.example.com", True),
        ("*.db.example.com", "10.1.2.3", False),
        ("10.1.2.*", "10.1.2.3", True),
        ("10.1.2.*", "10.1.2.attacker.example", False),
        ("10.1.2.*", "10.1.2.0x9", False),
        ("10.1.?.[0-9]", "10.1.2.3", True),
        ("10.1.?.[0-9]*", "10.1.2.3.attacker.example", False),
        ("fd00:*", "[fd00:0:0::1]", True),
        ("*:*", "attacker.example", False),
    ],
)
def test_a_pattern_for_addresses_opens_no_name(
    monkeypatch: pytest.MonkeyPatch, pattern: str, host: str, is_open: bool
) -> None:
    monkeypatch.setattr(get_settings(), "target_hosts", f"other.example, {pattern}")
    address = read_dsn(f"postgresql://reader:secret@{host}/shop")
    if is_open:
        service.require_allowed(address)
    else:
        with pytest.raises(InvalidInput, match="closed to databases"):
            service.require_allowed(address)
