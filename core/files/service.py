"""Stored files and their rows. Knows nothing of what the bytes mean."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from core.artifacts.service import forget_files
from core.db import after_commit, db_now
from core.errors import NotFound, WrongState
from core.files.models import File
from core.files.purposes import LIFE_SECONDS
from core.ids import new_id
from core.jobs.models import Job
from core.jobs.status import FINAL
from core.jobs.uses import job_with_file
from core.storage import StoredFile, get_storage


@contextmanager
def stored_upload(project_id: str, source: Path) -> Iterator[str]:
    """Move an uploaded temporary file into the storage and yield its key.

    If what was to name it fails, the bytes are deleted again; but not where the database went away:
    perhaps it has committed and could not say so. Bytes that nothing names go with time.
    """
    with stored(source, f"projects/{project_id}/files/{new_id('blob')}") as key:
        yield key


@contextmanager
def stored(source: Path, key: str) -> Iterator[str]:
    """As `stored_upload`, under a key of the caller's."""
    get_storage().put(source, key, move=True)
    try:
        yield key
    except (OperationalError, InterfaceError):
        raise
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
    expires_after: int | None = None,
) -> File:
    """A file's row; it expires so many seconds from now, else as is usual for its purpose."""
    now = session.scalar(select(db_now()))
    seconds = LIFE_SECONDS.get(purpose) if expires_after is None else expires_after
    file = File(
        id=new_id("file"),
        project_id=project_id,
        filename=filename,
        purpose=purpose,
        bytes=stored.bytes,
        sha256=stored.sha256,
        storage_key=storage_key,
        created_at=now,
        expires_at=None if seconds is None else now + seconds,
    )
    session.add(file)
    session.flush()
    return file


def get(session: Session, project_id: str, file_id: str, *, hold: bool = False) -> File:
    """A file that is not deleted; with `hold` it can't be until the transaction ends."""
    query = select(File).where(File.id == file_id, File.project_id == project_id)
    file = session.scalar(query.with_for_update(read=True) if hold else query)
    if file is None:
        raise NotFound(f"There is no file '{file_id}' in this project.", param="file")
    if file.deleted_at is not None:
        message = f"There is no file '{file_id}' any more: it was deleted. Upload it again."
        raise NotFound(message, param="file")
    return file


def delete(session: Session, project_id: str, file_id: str) -> None:
    """Delete a file for good, or `WrongState` while a job needs it."""
    get(session, project_id, file_id)
    session.get_one(File, file_id, populate_existing=True, with_for_update=True)
    job = job_with_file(session, project_id, file_id)
    if job is not None:
        raise WrongState(_in_use(file_id, job), code="file_in_use")
    drop_bytes(session, file_id)


def _in_use(file_id: str, job: Job) -> str:
    if job.status in FINAL:
        return (
            f"The batch '{job.id}' is {job.status} and needs the file '{file_id}' until its own "
            "files are made; delete it when it has them."
        )
    return (
        f"The {job.type} job '{job.id}' is {job.status} and needs the file '{file_id}'; "
        "delete it when the job has ended, or cancel the job."
    )


def drop_bytes(session: Session, file_id: str) -> None:
    """Delete the bytes after the commit; the row stays, marked."""
    file = session.get_one(File, file_id)
    file.deleted_at = session.scalar(select(db_now()))
    forget_files(session, file.storage_key)
    after_commit(session, lambda: get_storage().delete(file.storage_key))


def expire_after(session: Session, file_id: str, seconds: float | None) -> None:
    """Let a file go so many seconds from now; None: it stays until somebody deletes it."""
    file = session.get_one(File, file_id)
    file.expires_at = None if seconds is None else session.scalar(select(db_now())) + seconds


def drop_expired(session: Session, *, most: int) -> int:
    """Delete files past their time that no job needs; returns how many."""
    expired = select(File).where(File.expires_at <= db_now(), File.deleted_at.is_(None))
    dropped = 0
    for file in session.scalars(expired.order_by(File.expires_at).limit(most).with_for_update()):
        if job_with_file(session, file.project_id, file.id) is None:
            drop_bytes(session, file.id)
            dropped += 1
    return dropped
