"""What the types that need a model share: naming it, briefing it, and whether it fits a worker."""

from sqlalchemy.orm import Session

from core.adapters.names import ModelTarget, hold_model
from core.errors import InvalidInput
from core.fleet.service import largest_memory
from core.jobs.models import Job
from core.jobs.types.base import Input

GIB = 1024**3
WEIGHT_BYTES = {"4bit": 0.8, "8bit": 1.2, "bf16": 2.0, "fp16": 2.0, "fp32": 4.0, "auto": 2.0}
RUNTIME_BYTES = int(0.7 * GIB)  # the interpreter with torch, and small activations


def model_inputs(target: ModelTarget) -> dict[str, Input]:
    """The paths that a runner needs to load a target."""
    if target.merged is not None:
        return {"model": Input(target.merged.storage_key)}
    inputs = {"model": Input(target.base.name, store="models")}
    if target.version is not None:
        inputs["adapter"] = Input(target.version.storage_key)
    elif target.checkpoint is not None:
        inputs["adapter"] = Input(f"{target.checkpoint.storage_key}/adapter")
    return inputs


def pin_model(session: Session, job: Job) -> None:
    """`begin` of a type: what `model` means at the submit is what it means to the job for good. An
    alias may move while the job waits, or between two of its attempts."""
    target = hold_model(session, job.project_id, job.params["model"])
    job.params = job.params | {"model": target.name}


def bytes_to_load(parameters: int, *, quantization: str, precision: str) -> int:
    """What a runner takes with the model loaded and nothing done yet, by estimate."""
    kind = quantization if quantization in WEIGHT_BYTES else precision
    return int(parameters * WEIGHT_BYTES[kind]) + RUNTIME_BYTES


def require_fit(
    session: Session, parameters: int, *, quantization: str, precision: str, extra_bytes: int = 0
) -> None:
    """Refuse what no live gpu worker can hold. With no worker up the job is taken and waits."""
    available = largest_memory(session, "gpu")
    if available is None:
        return
    needed = bytes_to_load(parameters, quantization=quantization, precision=precision)
    needed += extra_bytes
    if needed > available:
        raise InvalidInput(
            f"The model needs about {needed / GIB:.1f} GiB and the largest worker has "
            f"{available / GIB:.1f} GiB. Use quantization '8bit' or '4bit', a smaller base model, "
            "or start a worker with more memory.",
            param="model",
            code="does_not_fit",
        )
