"""Contract of `prepare`: a file becomes a dataset."""

from typing import Any

from pydantic import Field, model_validator
from sqlalchemy.orm import Session

from core.basemodels.service import get_base
from core.databases import service as databases
from core.datasets import service as datasets
from core.datasets.columns import check_mapping
from core.datasets.plan import read_dialect
from core.errors import InvalidInput, JobFailure
from core.files import service as files
from core.jobs.models import Job
from core.jobs.types.base import Brief, Input, JobType, Outcome, Params
from core.names import require_name
from core.settings import get_settings


class SplitParams(Params):
    """Shares of the rows; they add up to 1."""

    train: float = Field(0.8, gt=0, le=1)
    validation: float = Field(0.1, ge=0, lt=1)
    test: float = Field(0.1, ge=0, lt=1)
    seed: int = Field(42, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _whole(self) -> "SplitParams":
        if abs(self.train + self.validation + self.test - 1) > 1e-6:
            raise ValueError("train, validation and test must add up to 1")
        return self


class PrepareParams(Params):
    name: str
    file: str
    database: str | None = None
    format: str = Field("auto", pattern="^(auto|jsonl|json|csv|parquet)$")
    mapping: dict[str, str] = {}
    sql_dialect: str | None = None
    split: SplitParams | None = None
    drop_bad_rows: bool = False
    model: str | None = None
    """Base model whose tokenizer counts the tokens."""


def check(session: Session, project_id: str, params: PrepareParams) -> str | None:
    require_name(params.name, param="name")
    check_mapping(params.mapping)
    read_dialect(params.sql_dialect or "sqlite")
    datasets.require_free_name(session, project_id, params.name)
    file = files.get(session, project_id, params.file)
    if file.deleted_at is not None:
        raise InvalidInput("The bytes of this file are deleted; upload it again.", param="file")
    if params.database is not None:
        databases.find(session, project_id, params.database)
    if params.model is not None:
        get_base(session, params.model)
    return None


def begin(session: Session, job: Job) -> None:
    database = job.params["database"]
    found = databases.find(session, job.project_id, database) if database else None
    datasets.create(
        session,
        job.project_id,
        name=job.params["name"],
        file_id=job.params["file"],
        database_id=found.id if found else None,
        job_id=job.id,
    )


def brief(session: Session, job: Job) -> Brief:
    params = dict(job.params)
    file = files.get(session, job.project_id, params["file"])
    inputs = {"file": Input(file.storage_key)}
    params |= {
        "filename": file.filename,
        "database": None,
        "max_row_bytes": get_settings().max_line_bytes,
    }
    if job.params["database"]:
        database = databases.find(session, job.project_id, job.params["database"])
        inputs["database"] = Input(database.storage_key)
        params["database"] = {
            "dialect": database.dialect,
            "schema": database.schema,
            "schema_text": databases.prompt_schema(database),
        }
    if params["model"]:
        inputs["token_model"] = Input(params["model"], store="models")
    params["sql_dialect"] = params["sql_dialect"] or "sqlite"
    return Brief(params, inputs)


def publish(session: Session, job: Job, outcome: Outcome) -> JobFailure | None:
    dataset = datasets.of_job(session, job.id)
    result: dict[str, Any] = outcome.result
    if result["status"] != datasets.READY:
        datasets.mark_invalid(session, dataset, result["report"])
        return JobFailure("data", _summary(result["report"]), dataset=dataset.id)
    dataset.status = datasets.READY
    dataset.kind = result["kind"]
    dataset.storage_key = f"{outcome.storage_key}/dataset"
    for name in ("report", "statistics", "splits", "content_hash"):
        setattr(dataset, name, result[name])
    return None


def abandon(session: Session, job: Job, reason: str) -> None:
    dataset = datasets.of_job(session, job.id)
    datasets.mark_invalid(session, dataset, {"problems": [{"message": reason}], "rows": 0})


def _summary(report: dict[str, Any]) -> str:
    errors = [one for one in report["problems"] if one.get("severity") == "error"]
    if not errors:
        return "The file makes no usable dataset; its report says why."
    first = errors[0]
    place = f"Line {first['line']}" if first.get("line") else "The file"
    where = f", {first['path']}" if first.get("path") else ""
    return f"{place}{where}: {first['message']} ({report.get('rejected', 0)} rows are bad in all)"


PREPARE = JobType(
    name="prepare",
    queue="cpu",
    time_limit_seconds=6 * 3600,
    params=PrepareParams,
    check=check,
    begin=begin,
    brief=brief,
    publish=publish,
    abandon=abandon,
)
