"""`/v1/databases`: the databases that questions are about."""

import math
from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from api.deps import PageDep, ReadDep, Reader, Writer
from api.idempotency import Once, OnceDep
from api.schemas.common import Body, ListBody, list_body
from api.schemas.databases import (
    REGISTRATION,
    DatabaseShape,
    PostgresBody,
    RefreshBody,
    database_shape,
    read_body,
)
from api.turns import run_contact, run_statement
from api.uploads import Form, SizeGuard, read_form
from core.accounts.quotas import require_storage
from core.databases import service
from core.databases.asking import ask
from core.databases.models import TargetDatabase
from core.db import get_database
from core.errors import InvalidInput
from core.files.service import stored_upload
from core.names import name_of_file, require_name
from core.pages import read_page
from core.settings import get_settings

router = APIRouter(prefix="/databases", tags=["databases"])

SQLITE_MAGIC = b"SQLite format 3\x00"


@router.post("", status_code=201, openapi_extra=REGISTRATION)
async def register_database(request: Request, principal: Writer, once: OnceDep) -> DatabaseShape:
    """Register a SQLite file (multipart with `file` and an optional `name`), or a PostgreSQL
    database (JSON with `name` and `dsn`), whose role must not be able to do more than read."""
    if request.headers.get("content-type", "").startswith("application/json"):
        body = read_body(await request.body())
        return await run_contact(request, _register_dsn, principal.project_id, body, once)
    limit = get_settings().max_database_bytes
    form = await read_form(
        request,
        lambda _: SizeGuard(max_bytes=limit, magic=SQLITE_MAGIC, expected="SQLite database"),
    )
    return await run_in_threadpool(_register_file, principal.project_id, form, once)


def _register_file(project_id: str, form: Form, once: Once) -> DatabaseShape:
    try:
        path, _ = form.require_file()
        if unknown := sorted(form.fields.keys() - {"name"}):
            message = f"{unknown[0]}: no such field; beside 'file' there is 'name'."
            raise InvalidInput(message, param=unknown[0])
        name = form.fields.get("name") or name_of_file(form.filename, unnamed="database")
        require_name(name, param="name")  # before the file is read and stored
        schema, stored = service.inspect_upload(path)
        with stored_upload(project_id, path) as key, get_database().transaction() as session:
            once.begin(session, form)
            require_storage(session, project_id, stored.bytes)
            row = service.register_sqlite(
                session, project_id, name=name, schema=schema, stored=stored, storage_key=key
            )
            return once.answer(session, database_shape(row))
    finally:
        form.discard()


def _register_dsn(project_id: str, body: PostgresBody, once: Once) -> DatabaseShape:
    with get_database().transaction() as session:
        once.begin(session)  # answered before: the server is not asked again
    found = service.inspect_dsn(body.dsn)
    with get_database().transaction() as session:
        once.begin(session)
        row = service.register_dsn(session, project_id, name=body.name, found=found)
        return once.answer(session, database_shape(row))


@router.get("")
def list_databases(session: ReadDep, principal: Reader, page: PageDep) -> ListBody[DatabaseShape]:
    query = select(TargetDatabase).where(TargetDatabase.project_id == principal.project_id)
    return list_body(read_page(session, query, TargetDatabase.id, page), database_shape)


@router.get("/{database_id}")
def get_one_database(database_id: str, session: ReadDep, principal: Reader) -> DatabaseShape:
    """A database by id or name."""
    return database_shape(service.find(session, principal.project_id, database_id))


@router.post("/{database_id}/refresh")
async def refresh_database(
    database_id: str, request: Request, principal: Writer, body: RefreshBody | None = None
) -> DatabaseShape:
    """Read the schema of a PostgreSQL database anew, and see again that its role can only read;
    with `dsn`, by that one from now on."""
    given = body.dsn if body else None
    return await run_contact(request, _refresh, principal.project_id, database_id, given)


def _refresh(project_id: str, reference: str, given: str | None) -> DatabaseShape:
    known = service.require_dsn(_find(project_id, reference))
    found = service.inspect_dsn(given or known)
    with get_database().transaction() as session:
        row = service.find(session, project_id, reference)
        return database_shape(service.refresh(session, row, found, moved=bool(given)))


@router.get("/{database_id}/schema")
def get_schema(database_id: str, session: ReadDep, principal: Reader) -> dict[str, Any]:
    """Tables, columns, types, keys and samples, and the text that a prompt shows."""
    row = service.find(session, principal.project_id, database_id)
    return {"object": "database.schema", **row.schema, "prompt": service.prompt_schema(row)}


class QueryBody(Body):
    sql: str = Field(min_length=1, max_length=100_000)


@router.post("/{database_id}/query")
async def query_database(
    database_id: str, request: Request, body: QueryBody, principal: Reader
) -> dict[str, Any]:
    """Run one read-only statement in the sandbox."""
    database = await run_in_threadpool(_find, principal.project_id, database_id)
    return await run_statement(request, _result, database, body.sql)


def _result(database: TargetDatabase, sql: str) -> dict[str, Any]:
    with ask(database) as runner:
        outcome = runner.run(sql)
    error = outcome.error
    return {
        "object": "database.result",
        "columns": list(outcome.columns),
        "rows": [[_shown(value) for value in row] for row in outcome.rows],
        "truncated": outcome.truncated,
        "seconds": outcome.seconds,
        "error": None if error is None else {"class": error.klass, "message": error.message},
    }


def _find(project_id: str, reference: str) -> TargetDatabase:
    """For what may take its time: no transaction is open meanwhile."""
    with get_database().reading() as session:
        return service.find(session, project_id, reference)


def _shown(value: Any) -> Any:
    """A value as JSON has it; bytes as the hex of a SQL blob literal."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return f"x'{value.hex()}'" if isinstance(value, bytes) else value
