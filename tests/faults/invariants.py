"""What must hold of a platform that was under fire, read from its database, storage and processes.

`Watch` looks while it goes on; the functions look once all is quiet. Each returns sentences that
say what does not hold, none if all does.
"""

import contextlib
import hashlib
import os
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

import core.tables  # noqa: F401
from core.adapters.models import AdapterVersion
from core.artifacts.models import Artifact
from core.basemodels.models import MergedModel
from core.databases.models import TargetDatabase
from core.datasets.models import Dataset
from core.db import Database
from core.files.models import File
from core.jobs.models import Attempt, Checkpoint, Job, JobEvent
from core.jobs.status import FINAL, JobStatus
from core.storage import Storage

KEYED = (File, TargetDatabase, Dataset, Checkpoint, AdapterVersion, MergedModel, Artifact)


class Watch(threading.Thread):
    """Notes every state that a job is seen in, and runners that work on for a lost claim."""

    def __init__(self, database_url: str, folder: Path, *, lease_seconds: float) -> None:
        super().__init__(name="watch", daemon=True)
        self.database = Database(database_url)
        self.folder = str(folder)
        self.lease_seconds = lease_seconds
        self.broken: set[str] = set()
        self.seen: dict[str, tuple[str, int]] = {}
        self.states = 0
        self.polls = 0
        self._tokens: dict[str, int] = {}
        self._since: dict[tuple[str, int], float] = {}
        """Since when an attempt's runner has been seen at work although its claim is lost."""
        self._stopped = threading.Event()

    def run(self) -> None:
        try:
            while not self._stopped.wait(0.3):
                with contextlib.suppress(SQLAlchemyError):  # it is being killed, too
                    self._look_at_jobs()
                    self._look_at_runners()
        except Exception as error:  # a watch that fell asleep would find nothing wrong
            self.broken.add(f"the watch ended by itself: {error!r}")

    def end(self) -> None:
        self._stopped.set()
        self.join(timeout=30)

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = defaultdict(int)
        for status, _ in list(self.seen.values()):
            found[status] += 1
        return dict(found)

    def _look_at_jobs(self) -> None:
        with self.database.reading() as session:
            rows = session.execute(select(Job.id, Job.status, Job.token)).all()
        self.polls += 1
        for job_id, status, token in rows:
            before = self.seen.get(job_id)
            if before == (status, token):
                continue
            self.states += 1
            self.seen[job_id] = (status, token)
            if before and before[0] in FINAL:
                self.broken.add(f"{job_id} was {before} and became {(status, token)}")
            if before and token < before[1]:
                self.broken.add(f"{job_id}: its token went back from {before[1]} to {token}")

    def _look_at_runners(self) -> None:
        """A frozen runner may outlive its claim; one that is awake has to end itself."""
        now = time.monotonic()
        awake = {(job_id, token) for job_id, token, state in self._runners() if state != "T"}
        for job_id, token in awake:
            status, live = self.seen.get(job_id, ("running", token))
            if status == "running" and live == token:
                continue
            since = self._since.setdefault((job_id, token), now)
            if now - since > self.lease_seconds:
                self.broken.add(f"{job_id}: the runner of attempt {token} worked on for a lease")
        self._since = {key: since for key, since in self._since.items() if key in awake}

    def _runners(self) -> list[tuple[str, int, str]]:
        """(job, token, state) of every runner at work: its output goes to its attempt's log."""
        found = []
        for entry in os.scandir("/proc"):
            if not entry.name.isdecimal():
                continue
            with contextlib.suppress(OSError, ValueError, IndexError):
                target = os.readlink(f"/proc/{entry.name}/fd/1")
                if not target.startswith(self.folder) or not target.endswith("/runner.log"):
                    continue
                job_id, _, token = Path(target).parent.name.rpartition("-")
                state = Path(f"/proc/{entry.name}/stat").read_text().rpartition(")")[2].split()[0]
                found.append((job_id, int(token), state))
        return found


# -- the record ----------------------------------------------------------------------------------


def unfinished(session: Session) -> list[str]:
    rows = session.execute(select(Job.id, Job.type, Job.status).where(Job.status.not_in(FINAL)))
    return [f"{job_id} ({kind}) is still {status}" for job_id, kind, status in rows]


def lost(session: Session, accepted: dict[str, str]) -> list[str]:
    known = set(session.scalars(select(Job.id)))
    missing = sorted(set(accepted) - known)
    return [f"{job_id} was accepted and is not there" for job_id in missing]


def doubled(session: Session) -> list[str]:
    """Jobs with two attempts at once, two ends, or two published things."""
    return [
        *_overlapping(session),
        *_more_than_one_end(session),
        *_asked_for_once(session),
        *_more_than_one(session, AdapterVersion.job_id, "adapter versions"),
        *_more_than_one(session, MergedModel.job_id, "merged models"),
        *_more_than_one(session, Dataset.job_id, "datasets"),
    ]


def _overlapping(session: Session) -> list[str]:
    broken = []
    last: Attempt | None = None
    for attempt in session.scalars(select(Attempt).order_by(Attempt.job_id, Attempt.token)):
        if last is not None and last.job_id == attempt.job_id:
            if attempt.token != last.token + 1:
                broken.append(f"{attempt.job_id}: attempt {last.token + 1} was not recorded")
            if last.finished_at is None or attempt.started_at < last.finished_at:
                broken.append(f"{attempt.job_id}: attempts {last.token}, {attempt.token} overlap")
        last = attempt
    return broken


def _more_than_one_end(session: Session) -> list[str]:
    ends: dict[str, list[str]] = defaultdict(list)
    for event in session.scalars(select(JobEvent).order_by(JobEvent.id)):
        status = event.data.get("status")
        if status in FINAL or (status is not None and ends[event.job_id]):
            ends[event.job_id].append(status)
    return [f"{job_id} ended and went on: {seen}" for job_id, seen in ends.items() if len(seen) > 1]


def _asked_for_once(session: Session) -> list[str]:
    """A customer gives each name once: a request that was sent again must not be a second job."""
    by_name: dict[tuple[str, str], list[str]] = defaultdict(list)
    for job in session.scalars(select(Job)):
        name = job.params.get("adapter" if job.type == "train" else "name")
        if name is not None:
            by_name[job.type, name].append(job.id)
    return [f"{name} is of several jobs: {ids}" for name, ids in by_name.items() if len(ids) > 1]


def _more_than_one(session: Session, column, what: str) -> list[str]:
    rows = session.execute(select(column, func.count()).group_by(column).having(func.count() > 1))
    return [f"{job_id} has {count} {what}" for job_id, count in rows if job_id is not None]


def badly_recorded(session: Session) -> list[str]:
    """Ended jobs whose attempts are open, successes without their version."""
    broken = [
        f"{attempt.job_id}: attempt {attempt.token} is open though the job has ended"
        for attempt in session.scalars(
            select(Attempt)
            .join(Job, Job.id == Attempt.job_id)
            .where(Attempt.outcome.is_(None), Job.status.in_(FINAL))
        )
    ]
    published = set(session.scalars(select(AdapterVersion.job_id)))
    trained = set(
        session.scalars(
            select(Job.id).where(Job.type == "train", Job.status == JobStatus.SUCCEEDED)
        )
    )
    broken += [f"{job_id} succeeded without a version" for job_id in sorted(trained - published)]
    broken += [f"{job_id} has a version, not a success" for job_id in sorted(published - trained)]
    return broken


# -- the storage ---------------------------------------------------------------------------------


@dataclass
class Verified:
    """What was read back of the storage."""

    files: int = 0
    bytes: int = 0
    broken: list[str] = field(default_factory=list)


def verify_artifacts(session: Session, storage: Storage) -> Verified:
    """Read every artifact and hold it against its sha256 and size."""
    found = Verified()
    for artifact in session.scalars(select(Artifact)):
        found.files += 1
        try:
            digest, size = hashlib.sha256(), 0
            for chunk in storage.chunks(artifact.storage_key):
                digest.update(chunk)
                size += len(chunk)
        except Exception as error:
            found.broken.append(f"artifact {artifact.id} can't be read: {error}")
            continue
        found.bytes += size
        if (digest.hexdigest(), size) != (artifact.sha256, artifact.bytes):
            found.broken.append(f"artifact {artifact.id} is not what was recorded")
    return found


def unowned_files(session: Session, folder: Path) -> list[str]:
    """Files of a local storage to which no row points."""
    keys = {key for table in KEYED for key in session.scalars(select(table.storage_key)) if key}
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder)
            if not keys & {name.as_posix(), *(parent.as_posix() for parent in name.parents)}:
                found.append(name.as_posix())
    return found


def abandoned_work(folder: Path) -> list[str]:
    """Folders of attempts on a machine where nothing runs any more."""
    return [str(path.relative_to(folder)) for path in sorted(folder.glob("data/work/*/*"))]
