"""`/v1/files`: uploaded bytes that a job's parameters name, such as a batch's questions."""

from fastapi import APIRouter, Request
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from api.deps import PageDep, ReadDep, Reader, Writer
from api.idempotency import Once, OnceDep
from api.schemas.common import ListBody, list_body
from api.schemas.resources import FileShape, file_shape
from api.uploads import Form, read_data_form
from core.db import get_database
from core.errors import InvalidInput
from core.files import service
from core.files.models import File
from core.pages import read_page

router = APIRouter(prefix="/files", tags=["files"])

PURPOSES = ("batch", "fine-tune", "user_data", "evals", "assistants", "vision")


@router.post("")
async def upload_file(request: Request, principal: Writer, once: OnceDep) -> FileShape:
    """Upload JSON Lines: multipart with `file` and `purpose`."""
    form = await read_data_form(request)
    return await run_in_threadpool(_create, principal.project_id, form, once)


def _create(project_id: str, form: Form, once: Once) -> FileShape:
    try:
        path, stored = form.require_file()
        purpose = form.fields.get("purpose", "")
        if purpose not in PURPOSES:
            raise InvalidInput(f"purpose: one of {', '.join(PURPOSES)} is right.", param="purpose")
        with (
            service.stored_upload(project_id, path) as key,
            get_database().transaction() as session,
        ):
            once.begin(session, form)
            row = service.create(
                session,
                project_id,
                filename=form.filename,
                purpose=purpose,
                stored=stored,
                storage_key=key,
            )
            return once.answer(session, file_shape(row))
    finally:
        form.discard()


@router.get("")
def list_files(session: ReadDep, principal: Reader, page: PageDep) -> ListBody[FileShape]:
    query = select(File).where(File.project_id == principal.project_id, File.deleted_at.is_(None))
    return list_body(read_page(session, query, File.id, page), file_shape)


@router.get("/{file_id}")
def get_file(file_id: str, session: ReadDep, principal: Reader) -> FileShape:
    return file_shape(service.get(session, principal.project_id, file_id))
