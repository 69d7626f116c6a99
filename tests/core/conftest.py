"""A migrated, empty database per test, once on SQLite and once on PostgreSQL."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.accounts.service import ensure_project
from core.db import Database, get_database
from tests.platform import environment, migrate
from tests.servers import drop_postgres_database, new_postgres_database


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file to copy: migrating for each test would take most of the time."""
    path = tmp_path_factory.mktemp("template") / "tuneyard.db"
    url = f"sqlite:///{path}"
    with environment(data_dir=str(path.parent), database_url=url):
        migrate(url)
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_server_url: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    url = new_postgres_database(postgres_server_url)
    with environment(data_dir=str(tmp_path_factory.mktemp("pg")), database_url=url):
        migrate(url)
    return url.partition("?")[0].rpartition("/")[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'tuneyard.db'}"
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("sqlite_template"), tmp_path / "tuneyard.db")
    else:
        server = request.getfixturevalue("postgres_server_url")
        url = new_postgres_database(server, template=request.getfixturevalue("postgres_template"))
    with environment(data_dir=str(tmp_path), database_url=url, broker_url="redis://127.0.0.1:1/0"):
        yield get_database()
    if request.param == "postgresql":
        drop_postgres_database(url)


@pytest.fixture
def project_id(database: Database) -> str:
    with database.transaction() as session:
        return ensure_project(session, "default").id
