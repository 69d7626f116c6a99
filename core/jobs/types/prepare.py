"""Contract of `prepare`: a file becomes a dataset."""

from typing import Any, Literal

from pydantic import Field, model_validator
from sqlalchemy.orm import Session

from core.basemodels.service import get_base
from core.databases import service as databases
from core.datasets import service as datasets
from core.datasets.columns import check_mapping
from core.datasets.plan import GIVEN, read_dialect
from core.errors import InvalidInput, JobFailure, NotFound
from core.files import service as files
from core.jobs.models import Job
from core.jobs.types.base import Brief, Input, JobType, Outcome, Params
from core.jobs.types.databases import database_inputs, database_secrets
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
    validation_file: str | None = None
    """A second file, whose rows are the split `validation`."""
    database: str | None = None
    format: str = Field("auto", pattern="^(auto|jsonl|json|csv|parquet)$")
    mapping: dict[str, str] = {}
    sql_dialect: str | None = None
    split: SplitParams | Literal["given"] | None = None
    """Shares; or `given`: as a column says, and what says nothing is train, as it is beside a
    validation_file too. None: as a column says, without one the usual shares."""
    drop_bad_rows: bool = False
    model: str | None = None
    """Base model whose tokenizer counts the tokens."""


def check(session: Session, project_id: str, params: PrepareParams) -> str | None:
    require_name(params.name, param="name")
    check_mapping(params.mapping)
    read_dialect(params.sql_dialect or "sqlite")
    datasets.require_free_name(session, project_id, params.name)
    _hold_file(session, project_id, params.file, param="file")
    if params.validation_file is not None:
        _hold_file(session, project_id, params.validation_file, param="validation_file")
        if params.split not in (None, GIVEN):
            message = "split: with a validation_file all other rows are train; leave it out"
            raise InvalidInput(message, param="split")
    if params.database is not None:
        databases.find(session, project_id, params.database)
    if params.model is not None:
        get_base(session, params.model)
    return None


def _hold_file(session: Session, project_id: str, file_id: str, *, param: str) -> None:
    try:
        files.get(session, project_id, file_id, hold=True)
    except NotFound as error:
        raise NotFound(error.message, param=param) from None


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
    secrets: dict[str, str] = {}
    params |= {
        "filename": file.filename,
        "database": None,
        "max_row_bytes": get_settings().max_line_bytes,
    }
    if params.get("validation_file"):
        second = files.get(session, job.project_id, params["validation_file"])
        inputs["validation_file"] = Input(second.storage_key)
        params["validation_filename"] = second.filename
    if job.params["database"]:
        database = databases.find(session, job.project_id, job.params["database"])
        inputs |= database_inputs(database)
        secrets = database_secrets(database)
        params["sql_dialect"] = params["sql_dialect"] or database.dialect
        params["database"] = {
            "dialect": database.dialect,
            "schema": database.schema,
            "schema_text": databases.prompt_schema(database),
        }
    if params["model"]:
        inputs["token_model"] = Input(params["model"], store="models")
    params["sql_dialect"] = params["sql_dialect"] or "sqlite"
    return Brief(params, inputs, secrets=secrets)


def publish(session: Session, job: Job, outcome: Outcome) -> JobFailure | None:
    dataset = datasets.of_job(session, job.id)
    result: dict[str, Any] = outcome.result
    if result["status"] != datasets.READY:
        datasets.mark_invalid(session, dataset, result["report"])
        return _failure(result["report"], dataset=dataset.id)
    datasets.mark_ready(session, dataset)
    dataset.kind = result["kind"]
    dataset.storage_key = f"{outcome.storage_key}/dataset"
    for name in ("report", "statistics", "splits", "content_hash"):
        setattr(dataset, name, result[name])
    return None


def abandon(session: Session, job: Job, reason: str) -> None:
    dataset = datasets.of_job(session, job.id)
    datasets.mark_abandoned(session, dataset, reason)


def _failure(report: dict[str, Any], **details: Any) -> JobFailure:
    """The first error, with its place: `param` names the file, `code` is the problem's."""
    errors = [one for one in report["problems"] if one.get("severity") == "error"]
    if not errors:
        message = "The file makes no usable dataset; its report says why."
        return JobFailure("data", message, param="file", code="invalid_file", line=None, **details)
    first = errors[0]
    second = first.get("file")
    name = "validation file" if second else "file"
    place = f"The {name}"
    if line := first.get("line"):
        place = f"Line {line} of the {name}" if second else f"Line {line}"
    where = f", {first['path']}" if first.get("path") else ""
    bad = f"{report.get('rejected', 0)} rows are bad in all"
    message = f"{place}{where}: {first['message']} ({bad})"
    return JobFailure(
        "data",
        message,
        param=second or "file",
        code=first["code"],
        line=line,
        **details,
    )


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
