"""Contract of `merge`: an adapter version and its base become one model."""

from typing import Annotated, Literal

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.adapters.names import hold_model
from core.adapters.service import get_version
from core.basemodels.models import BaseModel, MergedModel
from core.basemodels.service import require_free_name
from core.errors import InvalidInput, JobFailure
from core.ids import new_id
from core.jobs.models import Job
from core.jobs.status import LIVE
from core.jobs.types.base import Brief, Input, JobType, Outcome, Params
from core.jobs.types.models import require_fit
from core.names import require_name


class MergeParams(Params):
    adapter: str
    name: str | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    sample_prompts: list[Annotated[str, Field(max_length=2_000)]] = Field([], max_length=20)


def merged_name(params: dict) -> str:
    return params["name"] or params["adapter"].replace(":", "-v") + "-merged"


def check(session: Session, project_id: str, params: MergeParams) -> str | None:
    version = get_version(session, project_id, params.adapter)
    name = merged_name(params.model_dump())
    require_name(name, param="name")
    require_free_name(session, project_id, name)
    _require_none_coming(session, project_id, name)
    hold_model(session, project_id, version.address)
    base = session.get_one(BaseModel, version.base_model)
    # Base with live adapter and merged copy, both fp32, are in memory for the parity check.
    twice = base.parameters * 4
    require_fit(session, base.parameters, quantization="none", precision="fp32", extra_bytes=twice)
    return None


def _require_none_coming(session: Session, project_id: str, name: str) -> None:
    """No other merge is about to take the name, which whoever asks has locked by now."""
    merges = session.execute(
        select(Job.id, Job.params).where(
            Job.project_id == project_id, Job.type == MERGE.name, Job.status.in_(LIVE)
        )
    )
    for job_id, params in merges:
        if merged_name(params) == name:
            raise InvalidInput(
                f"Job '{job_id}' is about to make a model named '{name}'; choose another name.",
                param="name",
                code="name_taken",
            )


def brief(session: Session, job: Job) -> Brief:
    version = get_version(session, job.project_id, job.params["adapter"])
    inputs = {
        "model": Input(version.base_model, store="models"),
        "adapter": Input(version.storage_key),
    }
    params = dict(job.params) | {"name": merged_name(job.params)}
    return Brief(params, inputs)


def publish(session: Session, job: Job, outcome: Outcome) -> JobFailure | None:
    version = get_version(session, job.project_id, job.params["adapter"])
    name = merged_name(job.params)
    require_free_name(session, job.project_id, name)
    session.add(
        MergedModel(
            id=new_id("model"),
            project_id=job.project_id,
            name=name,
            base_model=version.base_model,
            adapter_version_id=version.id,
            job_id=job.id,
            storage_key=f"{outcome.storage_key}/model",
            precision=job.params["precision"],
            parity=outcome.result["parity"],
        )
    )
    outcome.result["model"] = name
    return None


MERGE = JobType(
    name="merge",
    queue="gpu",
    time_limit_seconds=6 * 3600,
    params=MergeParams,
    check=check,
    brief=brief,
    publish=publish,
)
