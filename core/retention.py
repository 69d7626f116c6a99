"""Deletes what nobody needs any more. Knows no caller and no job type.

In the storage: files to which no row points. In the database: files and uploads past their time,
checkpoints of jobs that ended long ago, old deliveries of webhooks, expired idempotency keys. On
this machine: what dead processes left behind. What is young is never touched: it may be somebody's
who is about to write its row.

A checkpoint's row goes first and its bytes in a later run, when they are still nobody's: so a job
that takes over the checkpoints of another in that moment keeps them.
"""

import logging
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from sqlalchemy import Column, delete, select
from sqlalchemy.orm import Session

import core.tables  # noqa: F401 - every table that may point to a file
from core.accounts.models import Project
from core.db import Base, db_now, get_database
from core.files import service as files
from core.fleet.service import keeper_run, live_workers
from core.idempotency.service import drop_expired
from core.jobs.models import Checkpoint, Job
from core.jobs.status import FINAL, JobStatus
from core.jobs.uses import asked_checkpoints
from core.settings import Settings, get_settings
from core.storage import Found, Storage, get_storage
from core.uploads import service as uploads
from core.webhooks.deliveries import drop_old

log = logging.getLogger(__name__)

DAY = 24 * 3600
MOST_FILES = 1000
"""Deleted in one run; the next one goes on."""
MOST_CHECKPOINTS = 500
MOST_EXPIRED = 500
BATCH = 200
STAGED = ("uploads", "scratch", "cache")
"""Folders of a data directory that hold nothing but copies and what is on its way."""

_one_at_a_time = threading.Lock()


@dataclass
class Deleted:
    """What one run took away."""

    files: int = 0
    bytes: int = 0
    checkpoints: int = 0
    keys: int = 0
    deliveries: int = 0
    expired: int = 0
    """Files and uploads."""
    local: int = 0


def retain_in_background() -> str:
    """In a thread: a storage that is slow or hangs must not hold up the keeper's sweep."""
    if not _one_at_a_time.acquire(blocking=False):
        return "the last run is not done yet"
    threading.Thread(target=_retain_and_release, name="retention", daemon=True).start()
    return "started"


def _retain_and_release() -> None:
    try:
        with keeper_run("retain"):
            retain()
    except Exception:  # the next run tries again
        log.exception("retention broke off")
    finally:
        _one_at_a_time.release()


def retain() -> Deleted:
    """One run over everything; returns what it took away."""
    settings = get_settings()
    done = Deleted()
    for found in islice(_orphans(get_storage(), settings), MOST_FILES):
        _drop_file(get_storage(), found)
        done.files += 1
        done.bytes += found.bytes
    with get_database().transaction() as session:  # alone: a submit locks files before checkpoints
        done.checkpoints = _drop_checkpoints(session, settings)
    with get_database().transaction() as session:
        done.keys = drop_expired(session)
        done.deliveries = drop_old(session)
        done.expired = files.drop_expired(session, most=MOST_EXPIRED)
        done.expired += uploads.drop_expired(session, most=MOST_EXPIRED)
    done.local = tidy_machine()
    if done != Deleted():
        log.info("retention took away: %s", done)
    return done


# -- the storage -------------------------------------------------------------------------------


def _orphans(storage: Storage, settings: Settings) -> Iterator[Found]:
    """Files that are old enough and that no row points to at the moment in which they are asked
    for."""
    with get_database().reading() as session:
        # The earlier of the two clocks: one that is ahead must not make a fresh file an old one.
        now = min(time.time(), session.scalar(select(db_now())))
    before = now - settings.retain_orphans_days * DAY
    old = (found for found in storage.walk("projects") if found.modified < before)
    while batch := list(islice(old, BATCH)):
        with get_database().reading() as session:
            kept = _kept(session, [found.key for found in batch])
        yield from (found for found in batch if found.key not in kept)


def _kept(session: Session, keys: list[str]) -> set[str]:
    """Those of the keys that have to stay."""
    pointed = _pointed(session, {root for key in keys for root in _roots(key)})
    projects = _existing(session, Project.id, {_part(key, 1) for key in keys})
    working = _working(session, {_part(key, 3) for key in keys})
    return {
        key
        for key in keys
        if pointed.intersection(_roots(key))
        # A project that this database does not know is another platform's, or the database is the
        # wrong one: then nothing here is ours to judge.
        or _part(key, 1) not in projects
        or any(key.startswith(f"{attempt}/") for attempt in working)
    }


def _roots(key: str) -> list[str]:
    """The key and every folder around it: a row may point to any of them."""
    path = PurePosixPath(key)
    return [key, *(str(parent) for parent in path.parents)]


def _part(key: str, place: int) -> str:
    """Of projects/PROJECT/jobs/JOB/attempt-N/…; "" where there is none."""
    parts = PurePosixPath(key).parts
    return parts[place] if len(parts) > place else ""


def _pointed(session: Session, keys: set[str]) -> set[str]:
    found: set[str] = set()
    for table in Base.metadata.tables.values():
        if "storage_key" not in table.c:
            continue
        here = table.c.storage_key
        # A row whose file was deleted on purpose keeps its key for the record alone.
        gone = [table.c.deleted_at.is_(None)] if "deleted_at" in table.c else []
        found |= _existing(session, here, keys, *gone)
    return found


def _existing(session: Session, column: Column, values: set[str], *conditions) -> set[str]:
    found: set[str] = set()
    wanted = iter(values)
    while some := list(islice(wanted, BATCH)):
        found.update(session.scalars(select(column).where(column.in_(some), *conditions)))
    return found


def _working(session: Session, job_ids: Iterable[str]) -> set[str]:
    """Folders of attempts that run now: what they have stored they may be about to record."""
    found = session.execute(
        select(Job.project_id, Job.id, Job.token).where(
            Job.id.in_(list(job_ids)), Job.status == JobStatus.RUNNING
        )
    )
    return {f"projects/{project}/jobs/{job}/attempt-{token}" for project, job, token in found}


def _drop_file(storage: Storage, found: Found) -> None:
    log.info("retention: %s (%d bytes) is nobody's", found.key, found.bytes)
    storage.delete(found.key)
    if storage.local:
        _drop_empty_folders(Path(storage.root), found.key)


def _drop_empty_folders(root: Path, key: str) -> None:
    """Those of an attempt, up to the job's: nobody will write there again."""
    for folder in PurePosixPath(key).parents:
        if len(folder.parts) < 4:
            return
        try:
            (root / folder).rmdir()
        except OSError:
            return  # not empty


def _drop_checkpoints(session: Session, settings: Settings) -> int:
    """Forget checkpoints of jobs that ended long ago; returns how many."""
    before = db_now() - settings.retain_checkpoints_days * DAY
    old = (
        select(Checkpoint)
        .join(Job, Job.id == Checkpoint.job_id)
        .where(Job.status.in_(FINAL), Job.finished_at < before)
        .order_by(Checkpoint.job_id, Checkpoint.step)
        .limit(MOST_CHECKPOINTS)
        .with_for_update(of=Checkpoint)
    )
    locked = session.scalars(old).all()
    asked = asked_checkpoints(session)  # behind the lock: who holds one has submitted its job
    ids = [one.id for one in locked if (one.job_id, one.step) not in asked]
    session.execute(delete(Checkpoint).where(Checkpoint.id.in_(ids)))
    return len(ids)


# -- this machine --------------------------------------------------------------------------------


def tidy_machine() -> int:
    """Delete what dead processes left in this machine's folders; returns how many things. Safe
    from any process at any time."""
    settings = get_settings()
    try:
        with get_database(settings).reading() as session:
            live = {worker.id for worker in live_workers(session)}
    except Exception as error:  # without the database nobody can tell who is dead
        log.warning("could not tidy this machine: %s", error)
        return 0
    candidates = [path for name in STAGED for path in _inside(settings.data_dir / name)]
    candidates += settings.model_dir.glob(".staging-*")
    candidates += (path for path in _inside(settings.work_dir) if path.name not in live)
    before = time.time() - settings.retain_orphans_days * DAY
    return sum(_drop_if_older(path, before) for path in candidates)


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _drop_if_older(path: Path, before: float) -> bool:
    if _touched(path) >= before:
        return False
    log.info("retention: %s was left behind", path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
    return not path.exists()


def _touched(path: Path) -> float:
    """When anything in it was last written, or the file itself last read: a cache is read."""
    latest = 0.0
    for one in [path, *path.rglob("*")]:
        with suppress(OSError):
            found = one.lstat()
            latest = max(latest, found.st_mtime, 0 if one.is_dir() else found.st_atime)
    return latest
