"""Every migration goes up and down on both databases, and says what the tables say."""

from pathlib import Path

import pytest
from alembic import command
from alembic.util import CommandError
from sqlalchemy import Engine, create_engine, inspect, text

from tests.platform import alembic_config, environment

JOB = """INSERT INTO jobs (id, project_id, type, queue, status, params, priority, token,
    time_limit_seconds, barren_attempts, ring, created_at)
    VALUES (:id, 'p', 'serve', 'gpu', :status, '{}', 0, :token, 1, 0, 0, 0)"""
ATTEMPT = """INSERT INTO attempts (job_id, token, worker_id, outcome, started_at)
    VALUES (:id, 2, 'gpu0@a', 'yielded', 0)"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path / 'x.db'}"


def engine_of(url: str) -> Engine:
    return create_engine(url.replace("postgresql://", "postgresql+psycopg://"))


def test_every_migration_goes_up_and_down(url: str, tmp_path: Path) -> None:
    config = alembic_config(url)
    with environment(data_dir=str(tmp_path), database_url=url):
        command.upgrade(config, "head")
        command.check(config)
        command.downgrade(config, "base")
        engine = engine_of(url)
        assert inspect(engine).get_table_names() == ["alembic_version"]
        engine.dispose()
        command.upgrade(config, "head")


def test_a_server_that_had_made_room_is_known_by_it(url: str, tmp_path: Path) -> None:
    """0006: until then its last attempt said so."""
    config = alembic_config(url)
    with environment(data_dir=str(tmp_path), database_url=url):
        command.upgrade(config, "0005")
        engine = engine_of(url)
        with engine.begin() as connection:
            connection.execute(
                text("INSERT INTO projects (id, name, created_at) VALUES ('p', 'p', 0)")
            )
            for name, token, status in (("a", 2, "paused"), ("b", 3, "paused"), ("c", 2, "queued")):
                job = {"id": name, "token": token, "status": status}
                connection.execute(text(JOB), job)
                connection.execute(text(ATTEMPT), {"id": name})
        command.upgrade(config, "head")
        with engine.connect() as connection:
            found = connection.execute(text("SELECT id FROM jobs WHERE yielded")).scalars().all()
        engine.dispose()
    assert found == ["a"]


def test_tables_of_a_newer_version_are_left_as_they_are(
    url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The way back to the version before: its start brings the database up, and must not fail."""
    config = alembic_config(url)
    with environment(data_dir=str(tmp_path), database_url=url):
        command.upgrade(config, "head")
        engine = engine_of(url)
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        command.upgrade(config, "head")
        assert "a newer version has migrated" in capfd.readouterr().out
        for way in (command.downgrade, command.stamp):
            with pytest.raises(CommandError, match="9999"):
                way(config, "0005")
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
        engine.dispose()
