"""From where a training starts if not from nothing: `continue_from` of its parameters.

An adapter version (`sales-sql:3`) gives its weights, with a fresh optimizer. A checkpoint
(`ckpt_…`) is a run to go on with, exactly: the same data and settings, else it is another run.
"""

from typing import Any

from sqlalchemy.orm import Session

from core.adapters.names import hold_model
from core.adapters.service import find_version
from core.datasets import service as datasets
from core.errors import InvalidInput, NotFound
from core.jobs.carry import attach as attach_checkpoint
from core.jobs.carry import find_checkpoint
from core.jobs.models import Job
from core.jobs.transitions import add_event

Params = dict[str, Any]

FREE = {"adapter", "continue_from", "dataset", "keep", "save_minutes", "save_steps"}
"""What may differ from the run that is gone on with: names, and how often it is saved. Datasets are
compared by what they are, not by how they are called."""


def is_checkpoint(params: Params) -> bool:
    return ":" not in (params.get("continue_from") or ":")


def check(session: Session, project_id: str, params: Params) -> None:
    """Raise what stands in the way of starting there."""
    if is_checkpoint(params):
        checkpoint = find_checkpoint(session, project_id, params["continue_from"])
        _require_same_run(session, session.get_one(Job, checkpoint.job_id), project_id, params)
    else:
        _require_same_base(session, project_id, params)


def attach(session: Session, job: Job) -> None:
    """Give a new job the checkpoint that it goes on from."""
    checkpoint = find_checkpoint(session, job.project_id, job.params["continue_from"])
    attach_checkpoint(session, checkpoint, job.id)
    message = f"It goes on from step {checkpoint.step} of job {checkpoint.job_id}."
    add_event(session, job.id, message, data={"checkpoint": checkpoint.id})


def _require_same_run(session: Session, old: Job, project_id: str, params: Params) -> None:
    if old.type != "train":
        raise _refusal(f"The checkpoint is of a {old.type} job, not of a training.")
    names = (params.keys() | old.params.keys()) - FREE
    other = [name for name in sorted(names) if params.get(name) != old.params.get(name)]
    mine = datasets.find(session, project_id, params["dataset"])
    if mine.id != datasets.find(session, project_id, old.params["dataset"]).id:
        other.append("dataset")
    if other:
        raise _refusal(
            f"A checkpoint goes on with the very run of job {old.id}; of that these differ: "
            f"{', '.join(other)}. Send them as they were, or start from an adapter version."
        )


def _require_same_base(session: Session, project_id: str, params: Params) -> None:
    address = params["continue_from"]
    version = find_version(session, project_id, address)
    if version is None:
        raise NotFound(
            f"There is no adapter version '{address}' in this project; continue_from takes one "
            "('sales-sql:3') or the id of a checkpoint ('ckpt_…').",
            param="continue_from",
        )
    if version.base_model != params["model"]:
        raise _refusal(
            f"The adapter '{address}' sits on the base model '{version.base_model}', this training "
            f"is on '{params['model']}'. Train on the same base."
        )
    hold_model(session, project_id, version.address)


def _refusal(message: str) -> InvalidInput:
    return InvalidInput(message, param="continue_from")
