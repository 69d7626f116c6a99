"""Every migration goes up and down on both databases, and says what the tables say."""

from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import create_engine, inspect

from tests.platform import alembic_config, environment


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_every_migration_goes_up_and_down(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    if kind == "postgresql":
        url = request.getfixturevalue("postgres_url")
    config = alembic_config(url)
    with environment(data_dir=str(tmp_path), database_url=url):
        command.upgrade(config, "head")
        command.check(config)
        command.downgrade(config, "base")
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        assert inspect(engine).get_table_names() == ["alembic_version"]
        engine.dispose()
        command.upgrade(config, "head")
