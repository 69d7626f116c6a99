"""What a model's name means: the one place that reads one. Knows no job type.

A base model's name, `adapter:version`, `adapter@alias`, a merged model's name, and OpenAI's form
`ft:base:project:adapter:job`, to which `:ckpt-step-N` adds the checkpoint of a step. What is
deleted has no name any more.
"""

import re
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.adapters.models import Adapter, AdapterAlias, AdapterVersion
from core.basemodels.models import BaseModel, MergedModel
from core.basemodels.service import find_merged, get_base
from core.errors import InvalidInput, NotFound
from core.jobs.models import Checkpoint, Job

NUMBER = re.compile(r"[1-9][0-9]{0,8}")
TUNED = re.compile(r"ft:.+:(?P<job>job_[0-9a-z]+)(?::ckpt-step-(?P<step>[0-9]{1,9}))?")
PROMPT = "adapter/prompt.json"
"""Without its prompt a checkpoint would be asked otherwise than it was trained."""


@dataclass(frozen=True)
class ModelTarget:
    """What a request's `model` names: a base, an adapter version on its base, a checkpoint of a
    training on its base, or a merged model. `name` means the same for good: an alias, which may
    move, is here the version that it stood for."""

    name: str
    base: BaseModel
    version: AdapterVersion | None = None
    merged: MergedModel | None = None
    checkpoint: Checkpoint | None = None

    @property
    def own(self) -> AdapterVersion | MergedModel | Checkpoint | None:
        """What of it is the project's own; of a base model nothing."""
        return self.version or self.merged or self.checkpoint


def tuned_name(base: str, project: str, adapter: str, job_id: str) -> str:
    """OpenAI's name of what a training made; `project` is the project's name."""
    return f"ft:{base}:{project}:{adapter}:{job_id}"


def checkpoint_name(tuned: str, step: int) -> str:
    return f"{tuned}:ckpt-step-{step}"


def read_checkpoint_name(name: str) -> tuple[str, int] | None:
    """The job's id and the step, if the name is a checkpoint's."""
    found = TUNED.fullmatch(name)
    return (found["job"], int(found["step"])) if found and found["step"] else None


def resolve_model(session: Session, project_id: str, name: str) -> ModelTarget:
    """What the name means in this project, or `InvalidInput` with the code `model_not_found`."""
    if (step := read_checkpoint_name(name)) is not None:
        return _of_checkpoint(session, project_id, name, *step)
    version = (
        find_version(session, project_id, name)
        or find_by_alias(session, project_id, name)
        or find_tuned(session, project_id, name)
    )
    if version is not None:
        base = session.get_one(BaseModel, version.base_model)
        return ModelTarget(version.address, base, version=version)
    merged = find_merged(session, project_id, name)
    if merged is not None:
        base = session.get_one(BaseModel, merged.base_model)
        return ModelTarget(merged.name, base, merged=merged)
    if TUNED.fullmatch(name) or "@" in name:
        raise _unknown(f"There is no model '{name}' in this project; GET /v1/models lists all.")
    return ModelTarget(name, get_base(session, name))


def hold_model(session: Session, project_id: str, name: str, *, alone: bool = False) -> ModelTarget:
    """As `resolve_model`, and nobody deletes it until the transaction ends; `alone` waits for all
    who hold it."""
    target = resolve_model(session, project_id, name)
    if target.own is None:
        return target
    table = type(target.own)
    row = select(table.id).where(table.id == target.own.id)
    session.execute(row.with_for_update(read=not alone))
    return resolve_model(session, project_id, target.name)  # it may just have been deleted


def find_version(session: Session, project_id: str, address: str) -> AdapterVersion | None:
    """The version at `adapter:number`, or None."""
    name, _, number = address.rpartition(":")
    if not name or not NUMBER.fullmatch(number):
        return None
    return session.scalar(
        select(AdapterVersion)
        .join(AdapterVersion.adapter)
        .where(
            Adapter.project_id == project_id,
            Adapter.name == name,
            AdapterVersion.version == int(number),
            AdapterVersion.deleted_at.is_(None),
        )
    )


def find_by_alias(session: Session, project_id: str, address: str) -> AdapterVersion | None:
    """The version that `adapter@alias` stands for now, or None."""
    name, _, alias = address.rpartition("@")
    return session.scalar(
        select(AdapterVersion)
        .join(AdapterVersion.adapter)
        .join(AdapterAlias, AdapterAlias.version_id == AdapterVersion.id)
        .where(
            Adapter.project_id == project_id,
            Adapter.name == name,
            AdapterAlias.name == alias,
            AdapterVersion.deleted_at.is_(None),
        )
    )


def find_tuned(session: Session, project_id: str, name: str) -> AdapterVersion | None:
    """The version that the job of `ft:…:job` made, or None. The job's id decides: what stands
    before it may have been renamed since."""
    found = TUNED.fullmatch(name)
    if found is None or found["step"]:
        return None
    return session.scalar(
        select(AdapterVersion).where(
            AdapterVersion.project_id == project_id,
            AdapterVersion.job_id == found["job"],
            AdapterVersion.deleted_at.is_(None),
        )
    )


def get_version(session: Session, project_id: str, address: str) -> AdapterVersion:
    version = find_version(session, project_id, address)
    if version is None:
        raise NotFound(
            f"There is no adapter version '{address}' in this project; an address looks like "
            "'sales-sql:3'.",
            param="adapter",
        )
    return version


def usable_as_model(checkpoint: Checkpoint) -> bool:
    """Whether it can be asked: it is whole, and (older ones do not) it holds its prompt."""
    paths = {file["path"] for file in checkpoint.manifest}
    return checkpoint.rejected is None and PROMPT in paths


def _of_checkpoint(
    session: Session, project_id: str, name: str, job_id: str, step: int
) -> ModelTarget:
    job = session.scalar(
        select(Job).where(Job.id == job_id, Job.project_id == project_id, Job.type == "train")
    )
    if job is None:
        raise _unknown(f"There is no training '{job_id}' in this project.")
    rows = session.scalars(
        select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(Checkpoint.id.desc())
    )
    usable = [one for one in rows if usable_as_model(one)]
    chosen = next((one for one in usable if one.step == step), None)
    if chosen is None:
        steps = ", ".join(str(number) for number in sorted({one.step for one in usable})) or "none"
        raise _unknown(
            f"The training '{job_id}' has no checkpoint of step {step} to ask (any more); those of "
            f"these steps are there: {steps}."
        )
    base = session.get_one(BaseModel, job.params["model"])
    return ModelTarget(name, base, checkpoint=chosen)


def _unknown(message: str) -> InvalidInput:
    return InvalidInput(message, param="model", code="model_not_found")
