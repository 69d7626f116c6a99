"""Adapters, their versions, and what a model's name means. Knows no job."""

import re
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.adapters.models import Adapter, AdapterVersion
from core.basemodels.models import BaseModel, MergedModel
from core.basemodels.service import find_merged, get_base
from core.db import exclusive
from core.errors import NotFound
from core.ids import new_id

NUMBER = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class ModelTarget:
    """What a request's `model` names: a base, an adapter version on its base, or a merged model."""

    base: BaseModel
    version: AdapterVersion | None = None
    merged: MergedModel | None = None


def add_version(session: Session, project_id: str, name: str, **values: object) -> AdapterVersion:
    """The next version of the named adapter; the adapter is made at its first."""
    # Two jobs that end at once must take neither the same number nor both make the adapter.
    exclusive(session, f"adapter:{project_id}:{name}")
    adapter = session.scalar(
        select(Adapter).where(Adapter.project_id == project_id, Adapter.name == name)
    )
    if adapter is None:
        adapter = Adapter(id=new_id("ad"), project_id=project_id, name=name)
        session.add(adapter)
        session.flush()
    latest = session.scalar(
        select(func.max(AdapterVersion.version)).where(AdapterVersion.adapter_id == adapter.id)
    )
    version = AdapterVersion(
        id=new_id("av"),
        project_id=project_id,
        adapter_id=adapter.id,
        version=(latest or 0) + 1,
        **values,
    )
    session.add(version)
    session.flush()
    return version


def find_version(session: Session, project_id: str, address: str) -> AdapterVersion | None:
    """The version at `name:number`, or None."""
    name, _, number = address.rpartition(":")
    if not name or not NUMBER.fullmatch(number):
        return None
    return session.scalar(
        select(AdapterVersion)
        .join(AdapterVersion.adapter)
        .where(
            Adapter.project_id == project_id,
            Adapter.name == name,
            AdapterVersion.version == int(number),
        )
    )


def get_version(session: Session, project_id: str, address: str) -> AdapterVersion:
    version = find_version(session, project_id, address)
    if version is None:
        raise NotFound(
            f"There is no adapter version '{address}' in this project; an address looks like "
            "'sales-sql:3'.",
            param="adapter",
        )
    return version


def get_adapter(session: Session, project_id: str, name: str) -> Adapter:
    adapter = session.scalar(
        select(Adapter).where(Adapter.project_id == project_id, Adapter.name == name)
    )
    if adapter is None:
        raise NotFound(f"There is no adapter '{name}' in this project.", param="adapter")
    return adapter


def resolve_model(session: Session, project_id: str, name: str) -> ModelTarget:
    """A base model's name, `adapter:version`, or a merged model's name; else `InvalidInput`."""
    version = find_version(session, project_id, name)
    if version is not None:
        return ModelTarget(session.get_one(BaseModel, version.base_model), version=version)
    merged = find_merged(session, project_id, name)
    if merged is not None:
        return ModelTarget(session.get_one(BaseModel, merged.base_model), merged=merged)
    return ModelTarget(get_base(session, name))
