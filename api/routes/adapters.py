"""`/v1/adapters`: named lines of LoRA weights and their versions."""

from fastapi import APIRouter
from sqlalchemy import select

from api.deps import PageDep, ReadDep, Reader
from api.schemas.common import ListBody, list_body
from api.schemas.resources import AdapterShape, VersionShape, adapter_shape, version_shape
from core.adapters import service
from core.adapters.models import Adapter
from core.artifacts.service import of_job
from core.pages import read_page

router = APIRouter(prefix="/adapters", tags=["adapters"])


@router.get("")
def list_adapters(session: ReadDep, principal: Reader, page: PageDep) -> ListBody[AdapterShape]:
    query = select(Adapter).where(Adapter.project_id == principal.project_id)
    return list_body(read_page(session, query, Adapter.id, page), adapter_shape)


@router.get("/{address}")
def get_adapter(address: str, session: ReadDep, principal: Reader) -> AdapterShape | VersionShape:
    """An adapter by name, or one version of it at `name:number` with its files."""
    if ":" not in address:
        return adapter_shape(service.get_adapter(session, principal.project_id, address))
    version = service.get_version(session, principal.project_id, address)
    return version_shape(version, of_job(session, version.job_id))
