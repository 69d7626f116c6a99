"""What `/v1/merges` shows: a merge is the job, seen by the model that it makes."""

from typing import Any, Literal

from pydantic import Field

from api.schemas.common import Shape
from api.schemas.resources import ArtifactShape, artifact_shape, whole
from core.artifacts.models import Artifact
from core.jobs.models import Job


class MergeShape(Shape):
    """`parity` is how far the merged model is from the live adapter; no parity, no model."""

    id: str = Field(description="The id of the job that it is.")
    object: Literal["merge"] = "merge"
    status: str
    adapter: str
    model: str | None = Field(description="The merged model's name, once it is there.")
    precision: str
    parity: dict[str, Any] | None
    bytes: int | None
    progress: dict[str, Any] | None
    error: dict[str, Any] | None
    artifacts: list[ArtifactShape] | None = None
    created_at: int
    started_at: int | None
    finished_at: int | None


def merge_shape(row: Job, artifacts: list[Artifact] | None = None) -> MergeShape:
    result = row.result or {}
    return MergeShape(
        id=row.id,
        status=row.status,
        adapter=row.params["adapter"],
        model=result.get("model"),
        precision=row.params["precision"],
        parity=result.get("parity"),
        bytes=result.get("bytes"),
        progress=row.progress,
        error=row.error,
        artifacts=None if artifacts is None else [artifact_shape(one) for one in artifacts],
        created_at=int(row.created_at),
        started_at=whole(row.started_at),
        finished_at=whole(row.finished_at),
    )
