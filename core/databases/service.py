"""Registered target databases: the SQLite file (or, later, a DSN) and its introspected schema."""

from pathlib import Path

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from core.databases.models import TargetDatabase
from core.db import exclusive
from core.errors import InvalidInput, NotFound
from core.ids import new_id
from core.names import require_name
from core.sql.introspect import introspect_sqlite
from core.sql.render import render_schema
from core.sql.schema import Schema
from core.storage import StoredFile, hash_file


def inspect_upload(path: Path) -> tuple[Schema, StoredFile]:
    """The schema of an uploaded SQLite file and what identifies it, or `InvalidInput`."""
    schema = introspect_sqlite(path, scratch=path.parent)
    return schema, StoredFile("database", path.stat().st_size, hash_file(path))


def register_sqlite(
    session: Session,
    project_id: str,
    *,
    name: str,
    schema: Schema,
    stored: StoredFile,
    storage_key: str,
) -> TargetDatabase:
    """Record a SQLite file that lies in the storage already."""
    require_name(name, param="name")
    exclusive(session, f"database:{project_id}:{name}")
    taken = select(TargetDatabase.id).where(
        TargetDatabase.project_id == project_id, TargetDatabase.name == name
    )
    if session.scalar(taken) is not None:
        raise InvalidInput(
            f"A database named '{name}' is registered already; choose another name.",
            param="name",
            code="name_taken",
        )
    database = TargetDatabase(
        id=new_id("db"),
        project_id=project_id,
        name=name,
        dialect="sqlite",
        storage_key=storage_key,
        bytes=stored.bytes,
        sha256=stored.sha256,
        schema=schema.to_dict(),
    )
    session.add(database)
    session.flush()
    return database


def find(session: Session, project_id: str, reference: str) -> TargetDatabase:
    """A database of the project by id or name."""
    database = session.scalar(
        select(TargetDatabase).where(
            TargetDatabase.project_id == project_id,
            or_(TargetDatabase.id == reference, TargetDatabase.name == reference),
        )
    )
    if database is None:
        raise NotFound(f"There is no database '{reference}' in this project.", param="database")
    return database


def prompt_schema(database: TargetDatabase) -> str:
    """The schema as a prompt shows it."""
    return render_schema(Schema.from_dict(database.schema))


def prompt_params(database: TargetDatabase) -> dict[str, str]:
    """What a brief says of a database: how a prompt shows it and which SQL it speaks."""
    return {"schema_text": prompt_schema(database), "dialect": database.dialect}
