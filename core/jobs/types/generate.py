"""Contract of `generate`: a batch of questions, or of OpenAI's request lines, with one model."""

import json
from typing import Literal

from pydantic import Field, model_validator
from sqlalchemy.orm import Session

from core.adapters.service import resolve_model
from core.batches.lines import Endpoint
from core.databases import service as databases
from core.db import after_commit
from core.errors import InvalidInput
from core.files import service as files
from core.jobs.models import Job
from core.jobs.types.base import Brief, Input, JobType, Outcome, Params
from core.jobs.types.databases import database_inputs, database_secrets
from core.jobs.types.models import model_inputs, pin_model, require_fit
from core.jobs.types.train import Precision, Quantization
from core.queue import BATCHES, ring_keeper


class Question(Params):
    id: str = Field(min_length=1, max_length=200)
    question: str = Field(min_length=1, max_length=20_000)


class GenerateParams(Params):
    """`questions` for up to 1,000 of them, or `file`: JSONL with `id` and `question` a line.

    With an `endpoint` the file's lines are OpenAI's: `custom_id`, `method`, `url` and `body`, which
    says how it is asked; every line is asked of this model and this database.
    """

    model: str
    database: str | None = None
    questions: list[Question | str] | None = Field(None, min_length=1, max_length=1000)
    file: str | None = None
    endpoint: Endpoint | None = None
    quantization: Quantization = "8bit"
    precision: Precision = "auto"
    prompt: Literal["auto", "schema", "bare", "classic"] = "auto"
    max_new_tokens: int = Field(256, ge=1, le=4096)

    @model_validator(mode="after")
    def _one_source(self) -> "GenerateParams":
        if (self.questions is None) == (self.file is None):
            raise ValueError("give either questions or file")
        if self.endpoint is not None and self.file is None:
            raise ValueError("an endpoint goes with a file of lines for it")
        self.questions = self.questions and _numbered(self.questions)
        return self


def _numbered(questions: list[Question | str]) -> list[Question]:
    """Plain strings get their place as an id; ids must differ."""
    named = [
        one if isinstance(one, Question) else Question(id=str(place), question=one)
        for place, one in enumerate(questions, start=1)
    ]
    if len({one.id for one in named}) < len(named):
        raise ValueError("questions: two of them have the same id")
    return named


def check(session: Session, project_id: str, params: GenerateParams) -> str | None:
    target = resolve_model(session, project_id, params.model)
    if params.database is not None:
        databases.find(session, project_id, params.database)
    elif params.endpoint == "/v1/sql":
        raise InvalidInput("SQL is asked on a database; name one.", param="database")
    if params.file is not None:
        files.get(session, project_id, params.file, hold=True)
    require_fit(
        session,
        target.base.parameters,
        quantization=params.quantization,
        precision=params.precision,
    )
    return None


def brief(session: Session, job: Job) -> Brief:
    target = resolve_model(session, job.project_id, job.params["model"])
    params = dict(job.params) | {"schema_text": None, "dialect": None}
    inputs = model_inputs(target)
    secrets: dict[str, str] = {}
    if params["file"]:
        inputs["questions"] = Input(files.get(session, job.project_id, params["file"]).storage_key)
    if params["database"]:
        database = databases.find(session, job.project_id, params["database"])
        inputs |= database_inputs(database)
        secrets = database_secrets(database)
        params |= databases.prompt_params(database)
    documents = {}
    if params["questions"]:
        lines = (json.dumps(one, ensure_ascii=False) for one in params.pop("questions"))
        documents["questions"] = "\n".join(lines) + "\n"
    return Brief(params, inputs, documents, secrets)


def publish(session: Session, job: Job, outcome: Outcome) -> None:
    _tell_keeper(session, job)


def abandon(session: Session, job: Job, reason: str) -> None:
    _tell_keeper(session, job)


def _tell_keeper(session: Session, job: Job) -> None:
    """An ended batch wants its files; who is not told finds it by himself, only later."""
    if job.surface == "batch":
        after_commit(session, lambda: ring_keeper(BATCHES))


GENERATE = JobType(
    name="generate",
    queue="gpu",
    time_limit_seconds=24 * 3600,
    params=GenerateParams,
    check=check,
    begin=pin_model,
    brief=brief,
    publish=publish,
    abandon=abandon,
)
