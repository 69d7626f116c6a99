"""`/v1/databases`: the databases that questions are about."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.deps import PageDep, ReadDep, Reader, Writer
from api.idempotency import Once, OnceDep
from api.schemas.common import ListBody, list_body
from api.schemas.forms import DATABASE_FORM
from api.schemas.resources import DatabaseShape, database_shape
from api.uploads import Form, SizeGuard, read_form
from core.accounts.quotas import require_storage
from core.databases import service
from core.databases.models import TargetDatabase
from core.db import get_database
from core.files.service import stored_upload
from core.pages import read_page
from core.settings import get_settings
from core.sql.execute import SqlRunner
from core.storage import get_storage

router = APIRouter(prefix="/databases", tags=["databases"])

SQLITE_MAGIC = b"SQLite format 3\x00"


@router.post("", status_code=201, openapi_extra=DATABASE_FORM)
async def register_database(request: Request, principal: Writer, once: OnceDep) -> DatabaseShape:
    """Register a SQLite file: multipart with `file` and an optional `name`."""
    limit = get_settings().max_database_bytes
    form = await read_form(
        request,
        lambda _: SizeGuard(max_bytes=limit, magic=SQLITE_MAGIC, expected="SQLite database"),
    )
    return await run_in_threadpool(_register, principal.project_id, form, once)


def _register(project_id: str, form: Form, once: Once) -> DatabaseShape:
    try:
        path, _ = form.require_file()
        schema, stored = service.inspect_upload(path)
        name = form.fields.get("name") or form.filename.rsplit(".", 1)[0].lower()
        with stored_upload(project_id, path) as key, get_database().transaction() as session:
            once.begin(session, form)
            require_storage(session, project_id, stored.bytes)
            row = service.register_sqlite(
                session, project_id, name=name, schema=schema, stored=stored, storage_key=key
            )
            return once.answer(session, database_shape(row))
    finally:
        form.discard()


@router.get("")
def list_databases(session: ReadDep, principal: Reader, page: PageDep) -> ListBody[DatabaseShape]:
    query = select(TargetDatabase).where(TargetDatabase.project_id == principal.project_id)
    return list_body(read_page(session, query, TargetDatabase.id, page), database_shape)


@router.get("/{database_id}")
def get_one_database(database_id: str, session: ReadDep, principal: Reader) -> DatabaseShape:
    """A database by id or name."""
    return database_shape(service.find(session, principal.project_id, database_id))


@router.get("/{database_id}/schema")
def get_schema(database_id: str, session: ReadDep, principal: Reader) -> dict[str, Any]:
    """Tables, columns, types, keys and samples, and the text that a prompt shows."""
    row = service.find(session, principal.project_id, database_id)
    return {"object": "database.schema", **row.schema, "prompt": service.prompt_schema(row)}


class QueryBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sql: str = Field(min_length=1, max_length=100_000)


@router.post("/{database_id}/query")
def query_database(
    database_id: str, body: QueryBody, session: ReadDep, principal: Reader
) -> dict[str, Any]:
    """Run one read-only statement in the sandbox."""
    path = _local_file(session, principal.project_id, database_id)
    scratch = get_settings().data_dir / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    with SqlRunner(path, scratch=scratch) as runner:
        outcome = runner.run(body.sql)
    error = outcome.error
    return {
        "object": "database.result",
        "columns": list(outcome.columns),
        "rows": [[_shown(value) for value in row] for row in outcome.rows],
        "truncated": outcome.truncated,
        "seconds": outcome.seconds,
        "error": None if error is None else {"class": error.klass, "message": error.message},
    }


def _shown(value: Any) -> Any:
    """A value as JSON has it; bytes as the hex of a SQL blob literal."""
    return f"x'{value.hex()}'" if isinstance(value, bytes) else value


def _local_file(session: Session, project_id: str, reference: str):
    row = service.find(session, project_id, reference)
    target = get_settings().data_dir / "cache" / f"{row.id}.sqlite"
    return get_storage().fetch(row.storage_key, target)
