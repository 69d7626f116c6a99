"""What a project may have at once: queued and running jobs, bytes of what it brought here.

Knows who counts, not who asks: whoever makes a thing that is bounded calls `require_…` before.
"""

from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Select, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from core.accounts.models import Project
from core.closed import Closed
from core.databases.models import TargetDatabase
from core.db import exclusive
from core.errors import QuotaExceeded
from core.files.models import File
from core.jobs.models import Job
from core.jobs.status import JobStatus
from core.uploads.models import Upload, UploadPart

LARGEST = 2**53 - 1


class Quotas(Closed):
    """Bounds of one project; what is null is not bounded."""

    model_config = ConfigDict(strict=True)

    queued_jobs: int | None = Field(None, ge=0, le=LARGEST)
    """Jobs that wait; a submit beyond is refused."""
    running_jobs: int | None = Field(None, ge=0, le=LARGEST)
    """Jobs that run at once; others wait in the queue."""
    storage_bytes: int | None = Field(None, ge=0, le=LARGEST)
    """Files, parts of uploads and SQLite databases; an upload beyond is refused."""


class Usage(BaseModel):
    """What a project has at this moment, in the words of `Quotas`."""

    queued_jobs: int
    running_jobs: int
    storage_bytes: int


def quotas_of(session: Session, project_id: str) -> Quotas:
    return Quotas.model_validate(session.get_one(Project, project_id).quotas)


def usage_of(session: Session, project_id: str) -> Usage:
    return usages(session, [project_id])[project_id]


def usages(session: Session, project_ids: Sequence[str]) -> dict[str, Usage]:
    """What each of these projects has; as many queries for a thousand of them as for one."""
    queued = _jobs(session, project_ids, JobStatus.QUEUED)
    running = _jobs(session, project_ids, JobStatus.RUNNING)
    stored = _stored(session, project_ids)
    return {
        one: Usage(queued_jobs=queued[one], running_jobs=running[one], storage_bytes=stored[one])
        for one in project_ids
    }


def require_place_in_queue(session: Session, project_id: str) -> None:
    """Raise `QuotaExceeded` unless the project may queue one more job."""
    most = quotas_of(session, project_id).queued_jobs
    if most is None:
        return
    exclusive(session, f"quota:{project_id}")  # two at once would both see the last place
    if _jobs(session, [project_id], JobStatus.QUEUED)[project_id] >= most:
        raise QuotaExceeded(
            f"This project may have {most} queued jobs and has them; wait until some have begun, "
            "cancel some, or ask the operator for more."
        )


def require_storage(session: Session, project_id: str, more: int) -> None:
    """Raise `QuotaExceeded` unless the project may store that many bytes more."""
    most = quotas_of(session, project_id).storage_bytes
    if most is None:
        return
    exclusive(session, f"quota:{project_id}")
    stored = _stored(session, [project_id])[project_id]
    if stored + more > most:
        raise QuotaExceeded(
            f"This project may store {most} bytes and has {stored}; these {more} are too many. "
            "Delete files that are not needed, or ask the operator for more."
        )


def running_bounds(session: Session) -> dict[str, int]:
    """By project: how many jobs it may run at once. Projects without a bound are not in it."""
    most = Project.quotas["running_jobs"].as_integer()
    return dict(session.execute(select(Project.id, most).where(most.is_not(None))).all())


def _jobs(session: Session, project_ids: Sequence[str], status: JobStatus) -> Counter[str]:
    counts = select(Job.project_id, func.count()).where(Job.status == status)
    return _by_project(session, counts, Job.project_id, project_ids)


def _stored(session: Session, project_ids: Sequence[str]) -> Counter[str]:
    files = select(File.project_id, func.sum(File.bytes)).where(File.deleted_at.is_(None))
    # What a PostgreSQL server holds is there and not here.
    databases = select(TargetDatabase.project_id, func.sum(TargetDatabase.bytes)).where(
        TargetDatabase.storage_key.is_not(None)
    )
    parts = select(Upload.project_id, func.sum(UploadPart.bytes)).join(
        UploadPart, UploadPart.upload_id == Upload.id
    )
    return (
        _by_project(session, files, File.project_id, project_ids)
        + _by_project(session, databases, TargetDatabase.project_id, project_ids)
        + _by_project(session, parts, Upload.project_id, project_ids)
    )


def _by_project(
    session: Session,
    query: Select[tuple[str, int]],
    column: InstrumentedAttribute[str],
    project_ids: Sequence[str],
) -> Counter[str]:
    rows = session.execute(query.where(column.in_(project_ids)).group_by(column))
    return Counter({project_id: int(number) for project_id, number in rows})
