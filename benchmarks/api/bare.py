"""The peer: FastAPI on the same database with the same queries, and nothing else.

No key, no scope, no gate, no log, no idempotency, no document; answers are the columns as they are.
What our API takes beside this is what those cost.
"""

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

import core.tables  # noqa: F401 - a foreign key is followed to a table that is known
from core.accounts.models import Project
from core.db import get_database
from core.finetuning import service
from core.finetuning.view import look_at
from core.jobs import service as jobs
from core.jobs.models import Job
from core.jobs.types import job_type

PROJECT = "bench"


def get_reader() -> Iterator[Session]:
    with get_database().reading() as session:
        yield session


def get_writer() -> Iterator[Session]:
    with get_database().transaction() as session:
        yield session


Read = Annotated[Session, Depends(get_reader, scope="function")]
Write = Annotated[Session, Depends(get_writer, scope="function")]

app = FastAPI()


@app.get("/v1/fine_tuning/jobs/{job_id}")
def get_job(job_id: str, session: Read) -> dict[str, Any]:
    """The job with what its object tells of others: its prepare, its project, the time."""
    [seen] = look_at(session, [service.get(session, _project(session), job_id)])
    prepare = seen.prepare and columns(seen.prepare)
    return columns(seen.job) | {"prepare": prepare, "model_name": seen.name, "now": seen.now}


@app.post("/v1/jobs")
def submit(body: dict[str, Any], session: Write) -> dict[str, Any]:
    """The job, pinned to what its names mean now, and the event that says so."""
    params = job_type(body["type"]).params(**body["params"])
    return columns(jobs.submit(session, _project(session), body["type"], params))


def columns(row: Job) -> dict[str, Any]:
    return {one.key: getattr(row, one.key) for one in inspect(Job).column_attrs}


def _project(session: Session) -> str:
    return session.scalars(select(Project.id).where(Project.name == PROJECT)).one()
