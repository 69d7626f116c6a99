"""Adapters and their versions. What a model's name means stands in `names`. Knows no job."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.adapters.models import Adapter, AdapterVersion
from core.adapters.names import ModelTarget, find_version, get_version, resolve_model
from core.db import exclusive
from core.errors import NotFound
from core.ids import new_id

__all__ = [
    "ModelTarget",
    "add_version",
    "find_version",
    "get_adapter",
    "get_version",
    "resolve_model",
]


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


def get_adapter(session: Session, project_id: str, name: str) -> Adapter:
    adapter = session.scalar(
        select(Adapter).where(Adapter.project_id == project_id, Adapter.name == name)
    )
    if adapter is None:
        raise NotFound(f"There is no adapter '{name}' in this project.", param="adapter")
    return adapter
