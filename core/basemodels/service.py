"""Base and merged models: which there are. The weights themselves are the model store's."""

from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from core.basemodels.catalogue import CATALOGUE
from core.basemodels.models import BaseModel, MergedModel
from core.db import exclusive, upsert
from core.errors import InvalidInput


def record_base(session: Session, manifest: dict[str, Any]) -> None:
    """Note a model that a worker found in its store. The same name means the same bytes."""
    columns = ("name", "parameters", "architecture", "context_length")
    row = {column: manifest[column] for column in columns} | {"manifest": manifest}
    upsert(session, BaseModel, [row])


def list_bases(session: Session) -> list[BaseModel]:
    return list(session.scalars(select(BaseModel).order_by(BaseModel.name)))


def get_base(session: Session, name: str) -> BaseModel:
    """A base model by name, or an error that names those there are."""
    base = session.get(BaseModel, name)
    if base is None:
        known = ", ".join(model.name for model in list_bases(session)) or "none yet"
        raise InvalidInput(
            f"There is no base model '{name}'; the workers have: {known}. {_how_to_bring(name)}",
            param="model",
            code="model_not_found",
        )
    return base


def _how_to_bring(name: str) -> str:
    listed = [model.name for model in CATALOGUE]
    if name in listed:
        return f"An operator brings it with `tuneyard models fetch {name}`."
    return (
        "An operator brings another with `tuneyard models fetch` and its directory, or its name "
        f"in the catalogue ({', '.join(listed)})."
    )


def find_merged(session: Session, project_id: str, reference: str) -> MergedModel | None:
    return session.scalar(
        select(MergedModel).where(
            MergedModel.project_id == project_id,
            or_(MergedModel.id == reference, MergedModel.name == reference),
            MergedModel.deleted_at.is_(None),
        )
    )


def require_free_name(session: Session, project_id: str, name: str) -> None:
    """A merged model may hide neither a base model nor another merged one. The name of a deleted
    one is not given again: a job that names it must not get another model."""
    exclusive(session, f"model:{project_id}:{name}")
    merged = select(MergedModel.id).where(
        MergedModel.project_id == project_id, MergedModel.name == name
    )
    if session.get(BaseModel, name) or session.scalar(merged):
        raise InvalidInput(
            f"A model named '{name}' exists or existed already; choose another name.",
            param="name",
            code="name_taken",
        )
