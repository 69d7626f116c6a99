"""`/v1/models`: everything that a job's `model` can name."""

from fastapi import APIRouter
from sqlalchemy import select

from api.deps import ReadDep, Reader
from api.schemas.common import ListBody
from api.schemas.resources import ModelShape, adapter_model_shape, base_shape, merged_shape
from core.adapters.models import AdapterVersion
from core.adapters.service import resolve_model
from core.basemodels.models import MergedModel
from core.basemodels.service import list_bases
from core.errors import InvalidInput, NotFound

router = APIRouter(prefix="/models", tags=["models"])


@router.get("")
def list_models(session: ReadDep, principal: Reader) -> ListBody[ModelShape]:
    """Base models, adapter versions and merged models. Not paged, as OpenAI's is not."""
    versions = select(AdapterVersion).where(AdapterVersion.project_id == principal.project_id)
    merged = select(MergedModel).where(MergedModel.project_id == principal.project_id)
    data = [base_shape(row) for row in list_bases(session)]
    data += [adapter_model_shape(row) for row in session.scalars(versions.order_by("id"))]
    data += [merged_shape(row) for row in session.scalars(merged.order_by("id"))]
    ids = [model.id for model in data]
    return ListBody(
        data=data,
        has_more=False,
        first_id=ids[0] if ids else None,
        last_id=ids[-1] if ids else None,
    )


@router.get("/{model:path}")
def get_model(model: str, session: ReadDep, principal: Reader) -> ModelShape:
    try:
        target = resolve_model(session, principal.project_id, model)
    except InvalidInput as error:
        raise NotFound(error.message, param="model", code=error.code) from None
    if target.version is not None:
        return adapter_model_shape(target.version)
    return merged_shape(target.merged) if target.merged is not None else base_shape(target.base)
