"""`/v1/files`: uploaded bytes that a job's parameters name, such as a batch's questions."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import ValidationError
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from api.content import CONTENT, stored_content
from api.deps import ReadDep, Reader, SessionDep, Writer
from api.idempotency import Once, OnceDep
from api.schemas.common import ListBody, list_body
from api.schemas.files import DeletedShape, ExpiresAfter, FileShape, file_shape
from api.schemas.forms import FILE_FORM
from api.uploads import Form, read_form
from core.accounts.quotas import require_storage
from core.db import get_database
from core.errors import InvalidInput
from core.files import service
from core.files.models import File
from core.files.purposes import ROWS, Bounded, Guard, guard_for, look_through, require_purpose
from core.pages import PageQuery, read_page

router = APIRouter(prefix="/files", tags=["files"])

EXPIRY = {f"expires_after[{name}]": name for name in ExpiresAfter.model_fields}


async def get_page(
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
) -> PageQuery:
    """Longer pages than elsewhere: OpenAI's clients expect all of their files at once."""
    return PageQuery(after=after, limit=limit, order=order)


@router.post("", openapi_extra=FILE_FORM)
async def upload_file(request: Request, principal: Writer, once: OnceDep) -> FileShape:
    """Upload a file: multipart with `purpose` and `file`, and if it shall go by itself
    `expires_after[anchor]` (`created_at`) and `expires_after[seconds]`."""
    form = await read_form(request, _guard)
    return await run_in_threadpool(_create, principal.project_id, form, once)


def _guard(form: Form) -> Guard:
    """By the purpose, where it comes before the file; else `_create` looks through the file."""
    purpose = form.fields.get("purpose")
    return guard_for(require_purpose(purpose) if purpose else "user_data", form.filename)


def _create(project_id: str, form: Form, once: Once) -> FileShape:
    try:
        path, stored = form.require_file()
        purpose = require_purpose(form.fields.get("purpose", ""))
        seconds = _expiry(form.fields)
        if purpose in ROWS and isinstance(form.guard, Bounded):
            look_through(path, guard_for(purpose, form.filename))
        with (
            service.stored_upload(project_id, path) as key,
            get_database().transaction() as session,
        ):
            once.begin(session, form)
            require_storage(session, project_id, stored.bytes)
            row = service.create(
                session,
                project_id,
                filename=form.filename,
                purpose=purpose,
                stored=stored,
                storage_key=key,
                expires_after=seconds,
            )
            return once.answer(session, file_shape(row))
    finally:
        form.discard()


def _expiry(fields: dict[str, str]) -> int | None:
    """Seconds, if the form has them; a field that nobody knows is refused."""
    unknown = sorted(fields.keys() - EXPIRY.keys() - {"purpose"})
    if unknown:
        known = ", ".join(["purpose", *EXPIRY])
        message = f"{unknown[0]}: there is no such field; beside the file {known} are right."
        raise InvalidInput(message, param=unknown[0])
    given = {name: fields[place] for place, name in EXPIRY.items() if place in fields}
    if not given:
        return None
    try:
        return ExpiresAfter.model_validate(given).seconds
    except ValidationError as error:
        first = error.errors()[0]
        place = f"expires_after[{first['loc'][0]}]"
        raise InvalidInput(f"{place}: {first['msg']}", param=place) from None


@router.get("")
def list_files(
    session: ReadDep,
    principal: Reader,
    page: Annotated[PageQuery, Depends(get_page)],
    purpose: str | None = None,
) -> ListBody[FileShape]:
    query = select(File).where(File.project_id == principal.project_id, File.deleted_at.is_(None))
    if purpose is not None:
        query = query.where(File.purpose == purpose)
    return list_body(read_page(session, query, File.id, page), file_shape)


@router.get("/{file_id}")
def get_file(file_id: str, session: ReadDep, principal: Reader) -> FileShape:
    return file_shape(service.get(session, principal.project_id, file_id))


@router.delete("/{file_id}")
def delete_file(file_id: str, session: SessionDep, principal: Writer) -> DeletedShape:
    """Delete its bytes for good; refused while a queued, running or paused job needs them."""
    service.delete(session, principal.project_id, file_id)
    return DeletedShape(id=file_id, object="file")


@router.get("/{file_id}/content", response_class=StreamingResponse, responses=CONTENT)
def get_file_content(file_id: str, session: ReadDep, principal: Reader) -> StreamingResponse:
    """The bytes as they came; `etag` is their sha256."""
    file = service.get(session, principal.project_id, file_id)
    session.close()  # its connection is others' while the storage is asked
    return stored_content(
        file.storage_key, filename=file.filename, size=file.bytes, sha256=file.sha256
    )
