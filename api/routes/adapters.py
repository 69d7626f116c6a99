"""`/v1/adapters`: named lines of LoRA weights, their versions, and where each came from."""

from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from sqlalchemy import select
from sqlalchemy.orm import selectinload

from api.deps import PageDep, ReadDep, Reader
from api.schemas.adapters import LineageShape, lineage_shape
from api.schemas.common import ListBody, list_body
from api.schemas.resources import AdapterShape, VersionShape, adapter_shape, version_shape
from core.adapters import service
from core.adapters.lineage import trace
from core.adapters.models import Adapter, AdapterVersion
from core.artifacts.pack import Packed, require_stored, zip_chunks
from core.artifacts.service import of_job
from core.pages import read_page
from core.storage import get_storage

router = APIRouter(prefix="/adapters", tags=["adapters"])

FOLDER = "adapter/"
"""Of a training's files those are the adapter's, in PEFT's format."""


@router.get("")
def list_adapters(session: ReadDep, principal: Reader, page: PageDep) -> ListBody[AdapterShape]:
    query = select(Adapter).where(Adapter.project_id == principal.project_id)
    with_versions = query.options(selectinload(Adapter.versions))
    return list_body(read_page(session, with_versions, Adapter.id, page), adapter_shape)


@router.get("/{address}")
def get_adapter(address: str, session: ReadDep, principal: Reader) -> AdapterShape | VersionShape:
    """An adapter by name, or one version of it at `name:number` with its files."""
    if ":" not in address:
        return adapter_shape(service.get_adapter(session, principal.project_id, address))
    version = service.get_version(session, principal.project_id, address)
    return version_shape(version, of_job(session, version.job_id))


@router.get("/{name}/versions")
def list_versions(
    name: str, session: ReadDep, principal: Reader, page: PageDep
) -> ListBody[VersionShape]:
    """The versions whose files are there, newest first."""
    adapter = service.get_adapter(session, principal.project_id, name)
    query = select(AdapterVersion).where(
        AdapterVersion.adapter_id == adapter.id, AdapterVersion.deleted_at.is_(None)
    )
    return list_body(read_page(session, query, AdapterVersion.id, page), version_shape)


@router.get("/{address}/lineage")
def get_lineage(address: str, session: ReadDep, principal: Reader) -> LineageShape:
    """Dataset, base model, job and figures of a version, its evaluations, what was merged of it."""
    version = service.get_version(session, principal.project_id, address)
    return lineage_shape(trace(session, version))


@router.get(
    "/{address}/download",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/zip": {}}, "description": "A ZIP of PEFT files."}},
)
def download(address: str, session: ReadDep, principal: Reader) -> StreamingResponse:
    """A version's files in PEFT's format, with the model card, the prompt and `SHA256SUMS`."""
    version = service.get_version(session, principal.project_id, address)
    files = [
        Packed(
            name=artifact.path.removeprefix(FOLDER),
            storage_key=artifact.storage_key,
            bytes=artifact.bytes,
            sha256=artifact.sha256,
            created_at=artifact.created_at,
        )
        for artifact in of_job(session, version.job_id)
        if artifact.path.startswith(FOLDER)
    ]
    session.close()  # its connection is others' while the storage is asked
    storage = get_storage()
    require_stored(storage, version.storage_key, files)
    name = quote(f"{version.adapter.name}-v{version.version}.zip")
    return StreamingResponse(
        zip_chunks(storage, files),
        media_type="application/zip",
        headers={"content-disposition": f"attachment; filename*=utf-8''{name}"},
    )
