"""A job type that counts, for tests of the worker's side: real runners without a model."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from sqlalchemy.orm import Session

from core.jobs.models import Job
from core.jobs.types.base import Brief, Input, JobType, Params
from workers.channel import Channel
from workers.spare import RunnerProcess

ROOT = Path(__file__).resolve().parents[2]


class CountParams(Params):
    steps: int = 10
    every: int = 5
    seconds: float = 0.0
    inputs: dict[str, str] = {}
    """Storage keys that the runner is to have."""
    base_model: str | None = None
    keep: int | None = None


def brief(session: Session, job: Job) -> Brief:
    inputs = {name: Input(key) for name, key in job.params["inputs"].items()}
    if job.params["base_model"]:
        inputs["model"] = Input(job.params["base_model"], store="models")
    return Brief(dict(job.params), inputs)


COUNT = JobType(
    name="count",
    queue="gpu",
    time_limit_seconds=3600,
    params=CountParams,
    check=lambda session, project_id, params: None,
    brief=brief,
)


class CountingSpare:
    """Takes the place of `workers.spare.SPARE`: starts runners of this recipe, keeps none."""

    def take(self, queue: str) -> RunnerProcess:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "tests.workers.counting_runner"]
        process = subprocess.Popen(
            [*command, str(theirs.fileno()), str(os.getpid()), queue],
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            cwd=ROOT,
        )
        theirs.close()
        return RunnerProcess(process, Channel(ours))
