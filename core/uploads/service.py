"""Uploads in parts: bytes come in any order and become a file at the end. Knows no HTTP.

Parts lie in the storage under the upload's key; whatever ends an upload takes them away. What a
crash leaves there has no row, and goes with all that is nobody's (`core.retention`).
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from core.accounts.quotas import require_storage
from core.db import after_commit, db_now
from core.errors import Conflict, InvalidInput, NotFound, TooLarge, WrongState
from core.files.models import File
from core.files.purposes import require_purpose
from core.files.service import stored
from core.ids import new_id
from core.settings import get_settings
from core.storage import get_storage
from core.uploads.models import Upload, UploadPart

MIB = 1024**2
PART_BYTES = 64 * MIB
MOST_PARTS = 10_000
LIFE_SECONDS = 3600
PENDING, COMPLETED, CANCELLED, EXPIRED = "pending", "completed", "cancelled", "expired"


def create(
    session: Session,
    project_id: str,
    *,
    filename: str,
    purpose: str,
    mime_type: str,
    bytes: int,
    expires_after: dict | None = None,
) -> Upload:
    """Announce a file of so many bytes; its parts may come for an hour."""
    most = get_settings().max_upload_bytes
    if bytes > most:
        raise TooLarge(f"bytes: at most {most} ({most / MIB:g} MiB) are taken here.", param="bytes")
    now = session.scalar(select(db_now()))
    upload = Upload(
        id=new_id("upload"),
        project_id=project_id,
        filename=filename,
        purpose=require_purpose(purpose),
        mime_type=mime_type,
        bytes=bytes,
        status=PENDING,
        expires_after=expires_after,
        created_at=now,
        expires_at=now + LIFE_SECONDS,
    )
    session.add(upload)
    session.flush()
    return upload


def get(session: Session, project_id: str, upload_id: str) -> Upload:
    upload = session.scalar(
        select(Upload).where(Upload.id == upload_id, Upload.project_id == project_id)
    )
    if upload is None:
        raise NotFound(f"There is no upload '{upload_id}' in this project.", param="upload_id")
    return upload


def status_of(session: Session, upload: Upload) -> str:
    """As stored, but that one whose hour is over has expired."""
    over = upload.expires_at <= session.scalar(select(db_now()))
    return EXPIRED if upload.status == PENDING and over else upload.status


def require_pending(session: Session, upload: Upload) -> None:
    status = status_of(session, upload)
    if status != PENDING:
        became = f"; it became the file '{upload.file_id}'" if upload.file_id else ""
        raise WrongState(
            f"The upload is '{status}'{became}. Only a pending one takes parts, is completed or "
            "cancelled; begin a new one.",
            code="upload_not_pending",
        )


def require_unchanged(session: Session, project_id: str, upload_id: str) -> None:
    """For who misses parts that were there a moment ago: `Conflict` if the upload has ended since,
    which takes them away."""
    status = status_of(session, get(session, project_id, upload_id))
    if status != PENDING:
        raise Conflict(
            f"The upload has become '{status}' while its parts were read; begin a new one if that "
            "is not what was wanted.",
            code="upload_changed",
        )


def hold_pending(session: Session, project_id: str, upload_id: str) -> Upload:
    """The pending upload, which nobody else changes until the transaction ends."""
    get(session, project_id, upload_id)
    upload = session.get_one(Upload, upload_id, populate_existing=True, with_for_update=True)
    require_pending(session, upload)
    return upload


def stored_part(project_id: str, upload_id: str, source: Path) -> AbstractContextManager[str]:
    """Move a received part into the storage and yield its key."""
    return stored(source, f"{_folder(project_id, upload_id)}/{new_id('blob')}")


def add_part(
    session: Session, project_id: str, upload_id: str, *, storage_key: str, bytes: int
) -> UploadPart:
    upload = hold_pending(session, project_id, upload_id)
    parts = select(func.count(), func.coalesce(func.sum(UploadPart.bytes), 0))
    count, total = session.execute(parts.where(UploadPart.upload_id == upload.id)).one()
    # Twice: a client that lost an answer sends its part again.
    if total + bytes > 2 * upload.bytes or count >= MOST_PARTS:
        raise TooLarge(
            f"The upload was announced with {upload.bytes} bytes and has {total} in {count} parts "
            "already; complete it, or begin a new one.",
            param="data",
        )
    require_storage(session, project_id, bytes)
    part = UploadPart(id=new_id("part"), upload_id=upload.id, storage_key=storage_key, bytes=bytes)
    session.add(part)
    session.flush()
    return part


def chosen_parts(session: Session, upload: Upload, part_ids: Sequence[str]) -> list[UploadPart]:
    """The named parts in that order; they have to be this upload's and add up to its bytes."""
    rows = select(UploadPart).where(UploadPart.upload_id == upload.id)
    there = {part.id: part for part in session.scalars(rows)}
    unknown = [part_id for part_id in part_ids if part_id not in there]
    if unknown or len(set(part_ids)) < len(part_ids):
        wrong = f"'{unknown[0]}' is no part of this upload" if unknown else "a part is named twice"
        raise InvalidInput(f"part_ids: {wrong}; name each part once, in order.", param="part_ids")
    parts = [there[part_id] for part_id in part_ids]
    total = sum(part.bytes for part in parts)
    if total != upload.bytes:
        raise InvalidInput(
            f"The parts have {total} bytes together, {upload.bytes} were announced; add what is "
            "missing, or begin a new upload.",
            param="part_ids",
            code="bytes_mismatch",
        )
    return parts


def content(parts: Sequence[UploadPart]) -> Iterator[bytes]:
    for part in parts:
        yield from get_storage().chunks(part.storage_key)


def complete(session: Session, upload: Upload, file: File) -> None:
    """The pending upload has become this file; its parts go."""
    upload.file_id = file.id
    _end(session, upload, COMPLETED)


def cancel(session: Session, project_id: str, upload_id: str) -> Upload:
    upload = hold_pending(session, project_id, upload_id)
    _end(session, upload, CANCELLED)
    return upload


def drop_expired(session: Session, *, most: int) -> int:
    """Take away the parts of uploads whose hour is over; returns how many uploads had some."""
    with_parts = select(UploadPart.upload_id).distinct()
    expired = select(Upload).where(
        Upload.status == PENDING, Upload.expires_at <= db_now(), Upload.id.in_(with_parts)
    )
    uploads = list(session.scalars(expired.limit(most).with_for_update()))
    for upload in uploads:
        _drop_parts(session, upload)
    return len(uploads)


def _end(session: Session, upload: Upload, status: str) -> None:
    upload.status = status
    _drop_parts(session, upload)


def _drop_parts(session: Session, upload: Upload) -> None:
    session.execute(delete(UploadPart).where(UploadPart.upload_id == upload.id))
    folder = _folder(upload.project_id, upload.id)
    after_commit(session, lambda: get_storage().delete(folder))


def _folder(project_id: str, upload_id: str) -> str:
    return f"projects/{project_id}/uploads/{upload_id}"
