"""Uploaded bytes and their rows. Knows nothing of what the bytes mean."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db import after_commit, db_now
from core.errors import NotFound
from core.files.models import File
from core.ids import new_id
from core.storage import StoredFile, get_storage


@contextmanager
def stored_upload(project_id: str, source: Path) -> Iterator[str]:
    """Move an uploaded temporary file into the storage and yield its key.

    If what was to name it fails, the bytes are deleted again.
    """
    key = f"projects/{project_id}/files/{new_id('blob')}"
    get_storage().put(source, key, move=True)
    try:
        yield key
    except BaseException:
        get_storage().delete(key)
        raise


def create(
    session: Session,
    project_id: str,
    *,
    filename: str,
    purpose: str,
    stored: StoredFile,
    storage_key: str,
) -> File:
    file = File(
        id=new_id("file"),
        project_id=project_id,
        filename=filename,
        purpose=purpose,
        bytes=stored.bytes,
        sha256=stored.sha256,
        storage_key=storage_key,
    )
    session.add(file)
    session.flush()
    return file


def get(session: Session, project_id: str, file_id: str) -> File:
    file = session.scalar(select(File).where(File.id == file_id, File.project_id == project_id))
    if file is None:
        raise NotFound(f"There is no file '{file_id}' in this project.", param="file")
    return file


def drop_bytes(session: Session, file_id: str) -> None:
    """Delete the bytes after the commit; the row stays, marked."""
    file = session.get_one(File, file_id)
    file.deleted_at = session.scalar(select(db_now()))
    after_commit(session, lambda: get_storage().delete(file.storage_key))
