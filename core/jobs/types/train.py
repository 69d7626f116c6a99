"""Contract of `train`: a base model and a dataset become an adapter version.

Parameters left out come from the preset; what "auto" came to stands in the job's result.
"""

import json
from typing import Annotated, Literal

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.adapters.service import add_version, get_version
from core.basemodels.service import get_base
from core.databases import service as databases
from core.databases.models import TargetDatabase
from core.datasets import service as datasets
from core.errors import JobFailure
from core.files import service as files
from core.jobs import start
from core.jobs.lessons import memory_ceiling
from core.jobs.models import Job, Metric
from core.jobs.types.base import Brief, Input, JobType, Outcome, Params
from core.jobs.types.models import GIB, require_fit
from core.names import require_name

RESULTS = "step_metrics.csv"
"""The file of its curves, among those that a training leaves."""
Auto = Literal["auto"]
Precision = Literal["auto", "bf16", "fp16", "fp32"]
Quantization = Literal["8bit", "4bit", "none"]


class LoraParams(Params):
    r: int | None = Field(None, ge=1, le=512)
    alpha: int | None = Field(None, ge=1, le=4096)
    dropout: float | None = Field(None, ge=0, lt=1)
    target_modules: Literal["all-linear"] | Annotated[list[str], Field(min_length=1)] | None = None
    layers: Literal["all", "auto"] | Annotated[int, Field(ge=1, le=1000)] | None = None
    use_rslora: bool | None = None


class EarlyStoppingParams(Params):
    patience: int = Field(3, ge=1, le=1000)
    min_delta: float = Field(0.0, ge=0)


class TrainParams(Params):
    model: str
    dataset: str
    adapter: str | None = None
    continue_from: str | None = None
    """An adapter version whose weights it starts from, or a checkpoint to go on from."""
    preset: Literal["default", "classic"] = "default"
    quantization: Quantization | None = None
    precision: Precision | None = None
    lora: LoraParams = LoraParams()
    prompt: Literal["auto", "schema", "bare", "classic"] | None = None
    epochs: Auto | Annotated[float, Field(gt=0, le=1000)] | None = None
    batch_size: int | None = Field(None, ge=1, le=1024)
    micro_batch: Auto | Annotated[int, Field(ge=1, le=1024)] | None = None
    learning_rate: Auto | Annotated[float, Field(gt=0, le=1)] | None = None
    schedule: Literal["linear"] | None = None
    warmup_ratio: float | None = Field(None, ge=0, lt=1)
    weight_decay: float | None = Field(None, ge=0, le=1)
    max_grad_norm: float | None = Field(None, gt=0)
    max_length: int | None = Field(None, ge=16, le=1_000_000)
    long_rows: Literal["refuse", "truncate"] | None = None
    gradient_checkpointing: Auto | bool | None = None
    save_minutes: float | None = Field(None, gt=0)
    save_steps: int | None = Field(None, ge=1, le=1_000_000)
    keep: int | None = Field(None, ge=1, le=100)
    early_stopping: EarlyStoppingParams | Literal[False] | None = None
    seed: int | None = Field(None, ge=0, lt=2**31)


def check(session: Session, project_id: str, params: TrainParams) -> str | None:
    base = get_base(session, params.model)
    dataset = datasets.find(session, project_id, params.dataset)
    require_name(params.adapter or dataset.name, param="adapter")
    if params.continue_from is not None:
        start.check(session, project_id, params.model_dump(mode="json"))
    require_fit(
        session,
        base.parameters,
        quantization=params.quantization or "8bit",
        precision=params.precision or "auto",
        extra_bytes=GIB // 2,  # adapter, optimizer and the activations of the smallest micro-batch
    )
    return datasets.require_usable(dataset)


def begin(session: Session, job: Job) -> None:
    if start.is_checkpoint(job.params):
        start.attach(session, job)


def brief(session: Session, job: Job) -> Brief:
    dataset = datasets.find(session, job.project_id, job.params["dataset"])
    base = get_base(session, job.params["model"])
    params = dict(job.params) | {
        "kind": dataset.kind,
        "dataset_hash": dataset.content_hash,
        "dataset_name": dataset.name,
        "model_name": base.name,
        "schema_text": None,
        "dialect": None,
        "memory_ceiling": memory_ceiling(session, job),
    }
    if dataset.database_id is not None:
        database = session.get_one(TargetDatabase, dataset.database_id)
        params |= databases.prompt_params(database)
    inputs = {
        "model": Input(base.name, store="models"),
        "dataset": Input(dataset.storage_key),
    }
    if job.params.get("continue_from") and not start.is_checkpoint(job.params):
        version = get_version(session, job.project_id, job.params["continue_from"])
        inputs["continue_from"] = Input(version.storage_key)
    return Brief(params, inputs, _curves(session, job))


def _curves(session: Session, job: Job) -> dict[str, str]:
    """The points that earlier attempts left, for the file of all of them."""
    points = session.execute(
        select(Metric.step, Metric.values).where(Metric.job_id == job.id).order_by(Metric.step)
    )
    lines = [json.dumps([step, values]) + "\n" for step, values in points]
    return {"curves": "".join(lines)} if lines else {}


def publish(session: Session, job: Job, outcome: Outcome) -> JobFailure | None:
    dataset = datasets.find(session, job.project_id, job.params["dataset"])
    version = add_version(
        session,
        job.project_id,
        job.params["adapter"] or dataset.name,
        base_model=job.params["model"],
        dataset_id=dataset.id,
        job_id=job.id,
        storage_key=f"{outcome.storage_key}/adapter",
        bytes=sum(file.bytes for file in outcome.files if file.path.startswith("adapter/")),
        settings=outcome.result["resolved"],
        metrics={
            name: outcome.result.get(name)
            for name in ("train_loss", "validation_loss", "epochs", "steps")
        },
    )
    session.refresh(version)
    outcome.result["adapter"] = version.address
    if job.surface is not None:  # whose words it has to speak: /v1/jobs has the curves themselves
        outcome.result["result_files"] = _result_files(session, job, outcome)
    return None


def _result_files(session: Session, job: Job, outcome: Outcome) -> list[str]:
    """The ids of OpenAI's `fine-tune-results`."""
    return [
        files.create(
            session,
            job.project_id,
            filename=file.path,
            purpose="fine-tune-results",
            stored=file,
            storage_key=f"{outcome.storage_key}/{file.path}",
        ).id
        for file in outcome.files
        if file.path == RESULTS
    ]


TRAIN = JobType(
    name="train",
    queue="gpu",
    time_limit_seconds=48 * 3600,
    params=TrainParams,
    check=check,
    begin=begin,
    brief=brief,
    publish=publish,
)
