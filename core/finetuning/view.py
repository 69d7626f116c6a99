"""What a fine-tuning job has to tell, gathered from its train job and what stands around it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.accounts.models import Project
from core.adapters.names import tuned_name
from core.db import db_now
from core.finetuning.status import TuningStatus, status_of
from core.jobs.dispatch import places
from core.jobs.models import Job
from core.jobs.status import JobStatus

FILES = {"file": "training_file", "validation_file": "validation_file"}
"""OpenAI's names of a prepare's files."""


@dataclass(frozen=True)
class Tuning:
    """One job as it is at the moment `now`. `prepare` is None if it waits for none."""

    job: Job
    prepare: Job | None
    project: str
    place: int | None
    now: float

    @property
    def status(self) -> TuningStatus:
        prepare = self.prepare and JobStatus(self.prepare.status)
        return status_of(JobStatus(self.job.status), prepare)

    @property
    def name(self) -> str:
        """Of the model that it makes, or would have made."""
        return tuned_name(
            self.job.params["model"], self.project, self.job.params["adapter"], self.job.id
        )

    @property
    def resolved(self) -> dict[str, Any] | None:
        """What every "auto" came to, once the training has seen its data."""
        return (self.job.result or {}).get("resolved")

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """As asked; in place of "auto" what it came to."""
        asked = self.job.request["hyperparameters"]
        if self.resolved is None:
            return asked
        came_to = {
            "n_epochs": self.resolved["epochs"],
            "batch_size": self.resolved["batch_size"],
            "learning_rate_multiplier": 1.0,
        }
        return {name: came_to[name] if asked[name] == "auto" else asked[name] for name in asked}

    @property
    def error(self) -> dict[str, Any] | None:
        """Why it failed; where a file is at fault with the file and the line."""
        if self.job.status != JobStatus.FAILED:
            return None
        if self.prepare is not None and self.prepare.status == JobStatus.FAILED:
            error = self.prepare.error
            return _error(error, param=FILES.get(error.get("param")))
        at_fault = "training_file" if self.job.error["class"] == "data" else None
        return _error(self.job.error, param=at_fault)

    @property
    def estimated_finish(self) -> float | None:
        seconds = (self.job.progress or {}).get("eta_seconds")
        running = self.status == TuningStatus.RUNNING
        return self.now + seconds if running and seconds is not None else None

    @property
    def trained_tokens(self) -> int | None:
        """Those of the training file's examples, as often as they were seen."""
        result = self.job.result or {}
        if self.job.status != JobStatus.SUCCEEDED or "train_tokens" not in result:
            return None
        return round(result["train_tokens"] * result["epochs"])


def _error(error: dict[str, Any], *, param: str | None) -> dict[str, Any]:
    return {
        "code": error.get("code") or error["class"],
        "message": error["message"],
        "param": param,
        "line": error.get("line"),
    }


def look_at(session: Session, jobs: Sequence[Job]) -> list[Tuning]:
    """All of them, which are one project's, in as many queries as for one."""
    if not jobs:
        return []
    awaited = [job.depends_on for job in jobs if job.depends_on]
    prepares = session.scalars(select(Job).where(Job.id.in_(awaited))).all()
    prepare_of = {prepare.id: prepare for prepare in prepares}
    project = session.get_one(Project, jobs[0].project_id)
    queues = {job.queue for job in jobs if job.status == JobStatus.QUEUED}
    line = {job_id: place for queue in queues for job_id, place in places(session, queue).items()}
    now = session.scalar(select(db_now()))
    return [
        Tuning(job, prepare_of.get(job.depends_on), project.name, line.get(job.id), now)
        for job in jobs
    ]
