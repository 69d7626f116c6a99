"""Registered target databases: a SQLite file or a PostgreSQL DSN, with the schema read from it."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import ip_address
from pathlib import Path

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from core.databases.models import TargetDatabase
from core.db import exclusive
from core.errors import Conflict, InvalidInput, NotFound, TuneyardError, WrongState
from core.ids import new_id
from core.names import require_name
from core.settings import get_settings
from core.sql.introspect import introspect_sqlite
from core.sql.postgres.dsn import Address, read_dsn
from core.sql.postgres.introspect import introspect_postgres, size_of
from core.sql.postgres.role import require_reader
from core.sql.postgres.runner import AWAY, REFUSED, PostgresRunner
from core.sql.render import render_schema
from core.sql.schema import Schema
from core.storage import StoredFile, hash_file

OURS = {"alembic_version", "api_keys", "attempts", "databases", "jobs"}
"""Tables by which a Tuneyard's own database is known: no questions are asked about that."""


@dataclass(frozen=True)
class Found:
    """What was found where a DSN leads."""

    dsn: str = field(repr=False)
    schema: Schema
    bytes: int


def inspect_upload(path: Path) -> tuple[Schema, StoredFile]:
    """The schema of an uploaded SQLite file and what identifies it, or `InvalidInput`."""
    schema = introspect_sqlite(path, scratch=path.parent)
    return schema, StoredFile("database", path.stat().st_size, hash_file(path))


def inspect_dsn(dsn: str) -> Found:
    """Log in, see that the role can only read, read the schema; else `InvalidInput`."""
    require_allowed(read_dsn(dsn))
    with PostgresRunner(dsn, trusted=True) as runner:
        try:
            require_reader(runner)
            schema = introspect_postgres(runner)
            found = Found(dsn, schema, size_of(runner))
        except TuneyardError as error:
            if error.code not in (AWAY, REFUSED):
                raise
            raise InvalidInput(error.message, param="dsn", code=error.code) from None
    if {table.name for table in schema.tables} >= OURS:
        message = "This is the database of a Tuneyard itself; register the one with your data."
        raise InvalidInput(message, param="dsn", code="own_database")
    return found


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
    return _register(
        session,
        project_id,
        name,
        dialect="sqlite",
        storage_key=storage_key,
        bytes=stored.bytes,
        sha256=stored.sha256,
        schema=schema.to_dict(),
    )


def register_dsn(session: Session, project_id: str, *, name: str, found: Found) -> TargetDatabase:
    """Record a PostgreSQL database that was inspected."""
    return _register(
        session,
        project_id,
        name,
        dialect="postgres",
        dsn=found.dsn,
        bytes=found.bytes,
        schema=found.schema.to_dict(),
    )


def refresh(
    session: Session, database: TargetDatabase, found: Found, *, moved: bool
) -> TargetDatabase:
    """Take over what was found anew; `moved`: by another DSN, which is the database's from now on.

    `Conflict` if it has got another one while its own was looked at: what was found is not there.
    """
    session.refresh(database, with_for_update=True)
    if moved:
        database.dsn = found.dsn
    elif database.dsn != found.dsn:
        raise Conflict(
            f"'{database.name}' has got another DSN just now; refresh it again.",
            code="database_changed",
        )
    database.bytes = found.bytes
    database.schema = found.schema.to_dict()
    return database


def require_dsn(database: TargetDatabase) -> str:
    """The DSN of a database that can be read anew."""
    if database.dsn is None:
        raise WrongState(
            f"'{database.name}' is a SQLite file, which does not change; upload the new file under "
            "another name.",
            code="database_not_refreshable",
        )
    return database.dsn


def dsn_of(database: TargetDatabase) -> str:
    """For who connects now: the operator may have closed its host since."""
    require_allowed(read_dsn(database.dsn))
    return database.dsn


def require_allowed(address: Address) -> None:
    """`InvalidInput` for a host that the operator has not opened to target databases."""
    patterns = [one.strip().lower() for one in get_settings().target_hosts.split(",")]
    if not any(_opens(pattern, address.host.lower()) for pattern in patterns):
        raise InvalidInput(
            f"The host '{address.host}' is closed to databases here; its operator opens it in "
            "TUNEYARD_TARGET_HOSTS.",
            param="dsn",
            code="host_not_allowed",
        )


def _opens(pattern: str, host: str) -> bool:
    """A pattern for addresses opens no name: whoever owns a zone may call a host of it 10.1.2.evil
    and let that lead anywhere."""
    if not _is_for_addresses(pattern):
        return fnmatchcase(host, pattern)
    try:
        return fnmatchcase(str(ip_address(host)), pattern)
    except ValueError:
        return False


def _is_for_addresses(pattern: str) -> bool:
    signs = set(pattern)
    return ":" in signs or (any(map(str.isdigit, signs)) and not any(map(str.isalpha, signs)))


def shown_dsn(database: TargetDatabase) -> str | None:
    """Where it is, without the password."""
    return read_dsn(database.dsn).shown if database.dsn else None


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


def _register(session: Session, project_id: str, name: str, **values: object) -> TargetDatabase:
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
    database = TargetDatabase(id=new_id("db"), project_id=project_id, name=name, **values)
    session.add(database)
    session.flush()
    return database
