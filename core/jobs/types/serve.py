"""Contract of `serve`: a base or merged model stays on a device and answers what it is asked."""

from typing import Literal

from pydantic import Field
from sqlalchemy.orm import Session

from core.adapters.names import hold_model
from core.adapters.service import ModelTarget, resolve_model
from core.errors import InvalidInput
from core.jobs.models import Job
from core.jobs.types.base import Brief, JobType, Params
from core.jobs.types.models import model_inputs, require_fit
from core.jobs.types.train import Precision, Quantization


class ServeParams(Params):
    """`yield_policy`: when it makes room for other jobs that wait for its device: `always`, as soon
    as what it is answering is answered; `idle`, when nobody has asked for `idle_seconds`; `never`.
    With `max_idle_seconds` it ends after so long without a request, whether others wait or not."""

    model: str
    quantization: Quantization = "8bit"
    precision: Precision = "auto"
    max_adapters: int = Field(8, ge=1, le=256)
    yield_policy: Literal["always", "idle", "never"] = "idle"
    idle_seconds: float = Field(30, gt=0, le=24 * 3600)
    max_idle_seconds: float | None = Field(None, gt=0)


def address_of(target: ModelTarget) -> str:
    """Under which its servers are asked: one for each model, whatever adapter is asked for."""
    model = model_inputs(target)["model"]
    return f"{model.store}/{model.key}"


def check(session: Session, project_id: str, params: ServeParams) -> str | None:
    target = hold_model(session, project_id, params.model)
    if "adapter" in model_inputs(target):
        raise InvalidInput(
            f"A server loads adapters when they are asked for; serve their base model, "
            f"'{target.base.name}', and ask it for '{params.model}'.",
            param="model",
        )
    require_fit(
        session,
        target.base.parameters,
        quantization=params.quantization,
        precision=params.precision,
    )
    return None


def brief(session: Session, job: Job) -> Brief:
    target = resolve_model(session, job.project_id, job.params["model"])
    return Brief(dict(job.params) | {"address": address_of(target)}, model_inputs(target))


SERVE = JobType(
    name="serve",
    queue="gpu",
    time_limit_seconds=365 * 24 * 3600,
    params=ServeParams,
    check=check,
    brief=brief,
    yields=True,
)
