"""OpenAI's model object, with what ours are made of beside it."""

from typing import Any, Literal

from api.schemas.common import Shape
from core.adapters.names import ModelTarget


class ModelShape(Shape):
    """`address` is the name that always means this very model; an alias moves."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    kind: Literal["base", "adapter", "checkpoint", "merged"]
    address: str
    base_model: str | None = None
    details: dict[str, Any] = {}


def model_shape(name: str, target: ModelTarget, *, owner: str) -> ModelShape:
    """The object under the name by which it was asked for; `owner` has all but base models."""
    kind, row, details = _told(target)
    base = target.checkpoint is None and target.version is None and target.merged is None
    return ModelShape(
        id=name,
        created=int(row.created_at),
        owned_by="operator" if base else owner,
        kind=kind,
        address=target.name,
        base_model=None if base else target.base.name,
        details=details,
    )


def _told(target: ModelTarget) -> tuple[str, Any, dict[str, Any]]:
    """The kind, the row, and what only that kind has to tell."""
    if (version := target.version) is not None:
        return "adapter", version, {"job": version.job_id, "dataset": version.dataset_id}
    if (checkpoint := target.checkpoint) is not None:
        told = {"job": checkpoint.job_id, "step": checkpoint.step, "metrics": checkpoint.metrics}
        return "checkpoint", checkpoint, told
    if (merged := target.merged) is not None:
        told = {"job": merged.job_id, "precision": merged.precision, "parity": merged.parity}
        return "merged", merged, told
    base = target.base
    told = {
        "parameters": base.parameters,
        "architecture": base.architecture,
        "context_length": base.context_length,
        "licence": base.manifest.get("licence"),
    }
    return "base", base, told
