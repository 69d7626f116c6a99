"""Gives batches that have ended their files.

The keeper's work, whoever ended the batch and however: the rows are in the database. A batch gets
its files once, in one transaction with the note that it has them. Until then it is unfinished, and
the next run takes it up.
"""

import logging
import threading
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Select, select, text
from sqlalchemy.orm import Session

from core.batches.results import OutputFile, Results, fetch_input, write_files
from core.batches.service import life_of
from core.batches.status import status_of
from core.db import db_now, get_database
from core.files import service as files
from core.jobs.models import UNFINISHED_BATCH, Job
from core.jobs.status import FINAL
from core.settings import get_settings
from core.webhooks.outbox import tell

log = logging.getLogger(__name__)

_one_at_a_time = threading.Lock()


class FinishedAlready(Exception):
    """Another process was quicker: what this one has made is thrown away."""


def finish_in_background() -> str:
    """In a thread: a storage that is slow or hangs must not hold up the keeper's sweep."""
    if not _one_at_a_time.acquire(blocking=False):
        return "the last run is not done yet"
    threading.Thread(target=_finish_and_release, name="batches", daemon=True).start()
    return "started"


def _finish_and_release() -> None:
    try:
        finish_batches()
    except Exception:  # the next run tries again
        log.exception("could not look for ended batches")
    finally:
        _one_at_a_time.release()


def finish_batches() -> int:
    """Make the files of each ended batch that has none yet; returns how many were finished."""
    with get_database().reading() as session:
        waiting = session.scalars(_unfinished(session)).all()
    return sum(map(_finish_one, waiting))


def _unfinished(session: Session) -> Select[tuple[str]]:
    """By an index that holds these alone: each sweep asks, and most batches ended long ago."""
    waits = text(UNFINISHED_BATCH[session.get_bind().dialect.name])
    return select(Job.id).where(waits, Job.status.in_(FINAL))


def _finish_one(job_id: str) -> bool:
    """A batch that can't be finished just now must not hold up its neighbours."""
    try:
        finish(job_id)
    except FinishedAlready:
        return False
    except Exception:
        log.exception("could not make the files of batch %s", job_id)
        return False
    return True


def finish(job_id: str) -> None:
    scratch = get_settings().data_dir / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=scratch) as folder, ExitStack() as stack:
        with get_database().reading() as session:
            job = session.get_one(Job, job_id)
        source = fetch_input(job, Path(folder))
        with get_database().reading() as session:
            results = write_files(session, job, Path(folder), source)
        for one in results.files:
            one.key = stack.enter_context(files.stored_upload(job.project_id, one.path))
        with get_database().transaction() as session:
            _record(session, job_id, results)


def _record(session: Session, job_id: str, results: Results) -> None:
    """Name the files and note that the batch has them, or `FinishedAlready`."""
    job = session.get_one(Job, job_id, populate_existing=True, with_for_update=True)
    if job.request["finalized_at"] is not None:
        raise FinishedAlready(job_id)
    job.request = job.request | {
        "completed": results.completed,
        "failed": results.failed,
        "usage": {"input": results.prompt_tokens, "output": results.completion_tokens},
        "finalized_at": session.scalar(select(db_now())),
        **{one.field: _file_of(session, job, one) for one in results.files},
    }
    tell(session, job.project_id, f"batch.{status_of(life_of(job))}", job.id)


def _file_of(session: Session, job: Job, made: OutputFile) -> str:
    """The id of the file's new row."""
    row = files.create(
        session,
        job.project_id,
        filename=made.stored.path,
        purpose="batch_output",
        stored=made.stored,
        storage_key=made.key,
        expires_after=job.request["output_seconds"],
    )
    return row.id
