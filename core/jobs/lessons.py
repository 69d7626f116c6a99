"""What a training's runner says of its memory, kept for the next one on such a device."""

from typing import Any

from sqlalchemy.orm import Session

from core.fleet import memory
from core.jobs.claims import Claim, hold
from core.jobs.models import Job

QUANTIZATION = "8bit"  # where the parameters name none


def note_memory(session: Session, held: Claim, lesson: dict[str, Any]) -> None:
    """Keep a lesson of the running attempt, or raise `LostClaim`."""
    hold(session, held)
    job = session.get_one(Job, held.job_id)
    memory.learn(session, job.worker_id, **_kind(job), **lesson)


def memory_ceiling(session: Session, job: Job) -> int | None:
    """The need that has been too much for the worker that has the job."""
    return memory.ceiling(session, job.worker_id, **_kind(job))


def _kind(job: Job) -> dict[str, str]:
    return {
        "base_model": job.params["model"],
        "quantization": job.params.get("quantization") or QUANTIZATION,
    }
