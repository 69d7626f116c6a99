"""`/v1/models`: everything that a request's `model` can name, under every name that it has."""

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import APIRouter

from api.deps import ReadDep, Reader, SessionDep, Writer
from api.schemas.common import ListBody, whole_list
from api.schemas.files import DeletedShape
from api.schemas.models import ModelShape, model_shape
from core.adapters.catalogue import named_targets
from core.adapters.deletion import delete_model
from core.adapters.names import resolve_model
from core.errors import InvalidInput, NotFound

router = APIRouter(prefix="/models", tags=["models"])


@router.get("")
def list_models(session: ReadDep, principal: Reader) -> ListBody[ModelShape]:
    """Base models, adapter versions (`sales-sql:3`, `sales-sql@production`, `ft:…`) and merged
    models. Not paged, as OpenAI's is not."""
    owner = principal.project_id
    named = named_targets(session, owner)
    return whole_list([model_shape(name, target, owner=owner) for name, target in named])


@router.get("/{model:path}")
def get_model(model: str, session: ReadDep, principal: Reader) -> ModelShape:
    """A model by any of its names, a checkpoint's (`ft:…:ckpt-step-20`) among them."""
    with _unknown_is_404():
        target = resolve_model(session, principal.project_id, model)
    return model_shape(model, target, owner=principal.project_id)


@router.delete("/{model:path}")
def remove_model(model: str, session: SessionDep, principal: Writer) -> DeletedShape:
    """Delete its files for good. Refused while a job that has not ended, an alias or a merged
    model needs it, and for base models, which are the operator's."""
    with _unknown_is_404():
        delete_model(session, principal.project_id, model)
    return DeletedShape(id=model, object="model")


@contextmanager
def _unknown_is_404() -> Iterator[None]:
    """In a body a wrong name is a wrong value; here it is the thing that is asked for."""
    try:
        yield
    except InvalidInput as error:
        raise NotFound(error.message, param="model", code=error.code) from None
