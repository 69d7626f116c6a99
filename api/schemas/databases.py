"""What a database looks like to its project, and what registers one by its DSN."""

from typing import Any

from pydantic import Field, ValidationError

from api.schemas.common import Body, Shape
from api.schemas.forms import BYTES, TEXT, form
from core.databases.models import TargetDatabase
from core.databases.service import shown_dsn
from core.errors import InvalidInput

MOST_CHARACTERS = 2000


class PostgresBody(Body):
    """A PostgreSQL database, by a role that can only read."""

    name: str = Field(max_length=63)
    dsn: str = Field(max_length=MOST_CHARACTERS)


class RefreshBody(Body):
    """A new DSN, where the password, the role or the place has changed."""

    dsn: str | None = Field(None, max_length=MOST_CHARACTERS)


class DatabaseShape(Shape):
    """`dsn` without its password; `bytes` are those of the file, or what its server said when the
    schema was read."""

    id: str
    object: str = "database"
    name: str
    dialect: str
    dsn: str | None
    bytes: int
    sha256: str | None
    tables: list[str]
    created_at: int


REGISTRATION = form(["file"], file=BYTES, name=TEXT)
REGISTRATION["requestBody"]["content"]["application/json"] = {
    "schema": PostgresBody.model_json_schema()
}


def read_body(body: bytes) -> PostgresBody:
    """What was sent as JSON. A refusal repeats nothing of it: it may be the password."""
    try:
        return PostgresBody.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        wrong = f"{place}: {first['msg']}" if place else first["msg"]
        raise InvalidInput(wrong, param=place or None, code=first["type"]) from None


def database_shape(row: TargetDatabase) -> DatabaseShape:
    return DatabaseShape(
        id=row.id,
        name=row.name,
        dialect=row.dialect,
        dsn=shown_dsn(row),
        bytes=row.bytes,
        sha256=row.sha256,
        tables=[_full_name(table) for table in row.schema["tables"]],
        created_at=int(row.created_at),
    )


def _full_name(table: dict[str, Any]) -> str:
    return ".".join(filter(None, (table.get("namespace"), table["name"])))
