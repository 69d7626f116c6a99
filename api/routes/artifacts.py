"""`/v1/artifacts`: the stored files of finished jobs."""

from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from api.deps import ReadDep, Reader
from api.schemas.resources import ArtifactShape, artifact_shape
from core.artifacts import service
from core.storage import get_storage

router = APIRouter(prefix="/artifacts", tags=["artifacts"])


@router.get("/{artifact_id}")
def get_artifact(artifact_id: str, session: ReadDep, principal: Reader) -> ArtifactShape:
    return artifact_shape(service.get(session, principal.project_id, artifact_id))


@router.get("/{artifact_id}/content", response_class=StreamingResponse)
def get_content(artifact_id: str, session: ReadDep, principal: Reader) -> StreamingResponse:
    """The bytes; `etag` is their sha256."""
    artifact = service.get(session, principal.project_id, artifact_id)
    name = artifact.path.rsplit("/", 1)[-1]
    headers = {
        "content-length": str(artifact.bytes),
        "etag": f'"{artifact.sha256}"',
        "content-disposition": f"attachment; filename*=utf-8''{quote(name)}",
    }
    chunks = get_storage().chunks(artifact.storage_key)
    return StreamingResponse(chunks, media_type="application/octet-stream", headers=headers)
