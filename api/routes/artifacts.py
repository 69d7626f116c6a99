"""`/v1/artifacts`: the stored files of finished jobs."""

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from api.content import CONTENT, stored_content
from api.deps import ReadDep, Reader
from api.schemas.resources import ArtifactShape, artifact_shape
from core.artifacts import service

router = APIRouter(prefix="/artifacts", tags=["artifacts"])


@router.get("/{artifact_id}")
def get_artifact(artifact_id: str, session: ReadDep, principal: Reader) -> ArtifactShape:
    return artifact_shape(service.get(session, principal.project_id, artifact_id))


@router.get("/{artifact_id}/content", response_class=StreamingResponse, responses=CONTENT)
def get_content(artifact_id: str, session: ReadDep, principal: Reader) -> StreamingResponse:
    """The bytes; `etag` is their sha256."""
    artifact = service.get(session, principal.project_id, artifact_id)
    session.close()  # its connection is others' while the storage is asked
    return stored_content(
        artifact.storage_key,
        filename=artifact.path.rsplit("/", 1)[-1],
        size=artifact.bytes,
        sha256=artifact.sha256,
    )
