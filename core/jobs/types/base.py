"""What a job type has to say about itself. Knows no type in particular."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ConfigDict, model_validator
from sqlalchemy.orm import Session

from core.closed import Closed
from core.db import has_nul
from core.errors import JobFailure
from core.jobs.models import Job
from core.storage import StoredFile


class Params(Closed):
    """Parameters of a job: an unknown one is an error that names it, no number is infinite, no
    text has a NUL (PostgreSQL can't store one) or half a character (nothing can)."""

    model_config = ConfigDict(allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, given: Any) -> Any:
        text = json.dumps(given, default=str, ensure_ascii=False)
        if has_nul(text):
            raise ValueError("a text has the character NUL; leave it out")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("a text has half a character (a lone surrogate)") from None
        return given


@dataclass(frozen=True)
class Input:
    """Where an input of a runner is: a storage key, or a name in the worker's model store."""

    key: str
    store: str = "storage"  # or "models"


@dataclass(frozen=True)
class Brief:
    """What a runner is told: plain parameters, and inputs that become local paths.

    `documents` are inputs whose text stands in the job itself. `secrets` are told by the pipe and
    written nowhere.
    """

    params: dict[str, Any]
    inputs: dict[str, Input] = field(default_factory=dict)
    documents: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Outcome:
    """What a runner brought back: its result and its files, hashed, under one storage key."""

    result: dict[str, Any]
    files: list[StoredFile]
    storage_key: str


Check = Callable[[Session, str, Any], str | None]
BriefOf = Callable[[Session, Job], Brief]
Publish = Callable[[Session, Job, Outcome], JobFailure | None]
Begin = Callable[[Session, Job], None]
Abandon = Callable[[Session, Job, str], None]


def nothing_to_begin(session: Session, job: Job) -> None:
    """Most types write no row before they have run."""


def nothing_to_publish(session: Session, job: Job, outcome: Outcome) -> None:
    """The job's result, rows and files are the record already."""


def nothing_to_abandon(session: Session, job: Job, reason: str) -> None:
    """Most types leave nothing behind when they don't succeed."""


@dataclass(frozen=True)
class JobType:
    """All that the platform knows of one type of job.

    check    (session, project_id, params): may it be queued? Raises InvalidInput or NotFound;
             returns the id of a job that it has to wait for, or None
    begin    (session, job): rows that stand from the submit on
    brief    (session, job): what the runner is told, read when it is claimed
    publish  (session, job, outcome): rows written in the transaction that records success; a
             JobFailure that it returns turns the success into that failure
    abandon  (session, job, reason): rows to set right when the job failed or was cancelled
    yields   its runner hears when other jobs wait for its slot, and may stop to make room
    """

    name: str
    queue: str
    time_limit_seconds: float
    params: type[Params]
    check: Check
    brief: BriefOf
    publish: Publish = nothing_to_publish
    begin: Begin = nothing_to_begin
    abandon: Abandon = nothing_to_abandon
    yields: bool = False
