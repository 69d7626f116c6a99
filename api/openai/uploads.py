"""`/v1/uploads`: a file that comes in parts."""

from collections.abc import Iterator, Sequence

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from api.deps import SessionDep, Writer
from api.idempotency import Once, OnceDep
from api.schemas.files import (
    CompleteBody,
    PartShape,
    UploadBody,
    UploadShape,
    part_shape,
    upload_shape,
)
from api.schemas.forms import PART_FORM
from api.uploads import Form, read_form
from core.db import get_database
from core.errors import NotFound
from core.files import service as files
from core.files.purposes import Bounded, guard_for
from core.uploads import service
from core.uploads.assembly import assembled
from core.uploads.models import Upload, UploadPart

router = APIRouter(prefix="/uploads", tags=["uploads"])


@router.post("")
def create_upload(
    body: UploadBody, once: OnceDep, session: SessionDep, principal: Writer
) -> UploadShape:
    """Announce a file of so many bytes; its parts may come within an hour."""
    once.begin(session)
    given = body.model_dump(mode="json")
    upload = service.create(session, principal.project_id, **given)
    return once.answer(session, upload_shape(upload, upload.status))


@router.post("/{upload_id}/parts", openapi_extra=PART_FORM)
async def add_part(upload_id: str, request: Request, principal: Writer, once: OnceDep) -> PartShape:
    """Add a part of up to 64 MiB: multipart with the bytes as `data`. Parts may come side by side
    and in any order."""
    await run_in_threadpool(_require_open, principal.project_id, upload_id, once)
    form = await read_form(request, lambda _: Bounded(service.PART_BYTES, param="data"))
    return await run_in_threadpool(_add, principal.project_id, upload_id, form, once)


def _require_open(project_id: str, upload_id: str, once: Once) -> None:
    """Before the bytes are read: nobody shall send what is refused anyway. A part that was taken
    once is not: it is answered as it was, whatever has become of the upload."""
    with get_database().reading() as session:
        upload = service.get(session, project_id, upload_id)
        if not once.is_known(session):
            service.require_pending(session, upload)


def _add(project_id: str, upload_id: str, form: Form, once: Once) -> PartShape:
    try:
        path, stored = form.require_file("data")
        with (
            service.stored_part(project_id, upload_id, path) as key,
            get_database().transaction() as session,
        ):
            once.begin(session, form)
            part = service.add_part(
                session, project_id, upload_id, storage_key=key, bytes=stored.bytes
            )
            return once.answer(session, part_shape(part))
    finally:
        form.discard()


@router.post("/{upload_id}/complete")
def complete_upload(
    upload_id: str, body: CompleteBody, principal: Writer, once: OnceDep
) -> UploadShape:
    """Make a file of the parts, in the order of `part_ids`; their bytes have to be as many as were
    announced, and as `md5` says if it is given."""
    project_id = principal.project_id
    with get_database().transaction() as session:
        once.begin(session)
        upload = service.hold_pending(session, project_id, upload_id)
        parts = service.chosen_parts(session, upload, body.part_ids)
    guard = guard_for(upload.purpose, upload.filename)
    with (
        assembled(_content(upload, parts), upload.filename, guard, md5=body.md5) as (path, stored),
        files.stored_upload(project_id, path) as key,
        get_database().transaction() as session,
    ):
        once.begin(session)
        upload = service.hold_pending(session, project_id, upload_id)
        after = upload.expires_after
        file = files.create(
            session,
            project_id,
            filename=upload.filename,
            purpose=upload.purpose,
            stored=stored,
            storage_key=key,
            expires_after=after and after["seconds"],
        )
        service.complete(session, upload, file)
        return once.answer(session, upload_shape(upload, upload.status, file))


def _content(upload: Upload, parts: Sequence[UploadPart]) -> Iterator[bytes]:
    """No transaction holds the upload meanwhile: reading takes its time."""
    try:
        yield from service.content(parts)
    except (NotFound, FileNotFoundError):
        with get_database().reading() as session:
            service.require_unchanged(session, upload.project_id, upload.id)
        raise


@router.post("/{upload_id}/cancel")
def cancel_upload(upload_id: str, session: SessionDep, principal: Writer) -> UploadShape:
    """No part is taken any more, and those that came are deleted."""
    upload = service.cancel(session, principal.project_id, upload_id)
    return upload_shape(upload, upload.status)
