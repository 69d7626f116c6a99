"""Contract of `evaluate`: a base model, adapter version or merged model on a split of a dataset."""

from typing import Literal

from pydantic import Field
from sqlalchemy.orm import Session

from core.adapters.service import resolve_model
from core.databases import service as databases
from core.databases.models import TargetDatabase
from core.datasets import service as datasets
from core.jobs.models import Job
from core.jobs.types.base import Brief, Input, JobType, Params
from core.jobs.types.databases import database_inputs, database_secrets
from core.jobs.types.models import model_inputs, pin_model, require_fit
from core.jobs.types.train import Precision, Quantization


class EvaluateParams(Params):
    model: str
    dataset: str
    split: str = "test"
    limit: int | None = Field(None, ge=1, le=1_000_000)
    seed: int = Field(42, ge=0, lt=2**31)
    quantization: Quantization = "8bit"
    precision: Precision = "auto"
    prompt: Literal["auto", "schema", "bare", "classic"] = "auto"
    max_new_tokens: int = Field(256, ge=1, le=4096)


def check(session: Session, project_id: str, params: EvaluateParams) -> str | None:
    target = resolve_model(session, project_id, params.model)
    dataset = datasets.find(session, project_id, params.dataset)
    datasets.require_split(dataset, params.split)
    require_fit(
        session,
        target.base.parameters,
        quantization=params.quantization,
        precision=params.precision,
    )
    return datasets.require_usable(dataset)


def brief(session: Session, job: Job) -> Brief:
    target = resolve_model(session, job.project_id, job.params["model"])
    dataset = datasets.find(session, job.project_id, job.params["dataset"])
    datasets.require_split(dataset, job.params["split"])
    params = dict(job.params) | {"kind": dataset.kind, "schema_text": None, "dialect": None}
    inputs = model_inputs(target) | {"dataset": Input(dataset.storage_key)}
    secrets: dict[str, str] = {}
    if dataset.database_id is not None:
        database = session.get_one(TargetDatabase, dataset.database_id)
        inputs |= database_inputs(database)
        secrets = database_secrets(database)
        params |= databases.prompt_params(database)
    return Brief(params, inputs, secrets=secrets)


EVALUATE = JobType(
    name="evaluate",
    queue="gpu",
    time_limit_seconds=24 * 3600,
    params=EvaluateParams,
    check=check,
    begin=pin_model,
    brief=brief,
)
