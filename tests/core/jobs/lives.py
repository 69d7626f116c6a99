"""Steps in a job's life that several of these tests take."""

from sqlalchemy import update

from core.db import Database, db_now
from core.jobs import service
from core.jobs.claims import Claim
from core.jobs.models import Job


def read(database: Database, job_id: str) -> Job:
    with database.reading() as session:
        return session.get_one(Job, job_id)


def take(database: Database, job_id: str, worker: str = "gpu0@a") -> Claim:
    with database.transaction() as session:
        claim = service.claim(session, job_id, worker)
    assert claim is not None
    return claim


def put(database: Database, job_id: str, **values: object) -> None:
    """Write columns of a job as if time had gone by."""
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id == job_id).values(**values))


def lapse(database: Database, job_id: str) -> None:
    put(database, job_id, lease_expires_at=db_now() - 1)
