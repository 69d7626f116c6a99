"""Every name by which a project can ask for a model, but for those of checkpoints: these stand at
their training. Reads only."""

from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.accounts.models import Project
from core.adapters.models import AdapterAlias, AdapterVersion
from core.adapters.names import ModelTarget, tuned_name
from core.basemodels.models import MergedModel
from core.basemodels.service import list_bases


def named_targets(session: Session, project_id: str) -> Iterator[tuple[str, ModelTarget]]:
    """Names with what they mean: base models, then adapter versions, each by its address, its
    aliases and as OpenAI would call it, then merged models."""
    bases = {base.name: base for base in list_bases(session)}
    for name, base in bases.items():
        yield name, ModelTarget(name, base)
    project = session.get_one(Project, project_id)
    aliases = _aliases(session, project_id)
    versions = select(AdapterVersion).where(
        AdapterVersion.project_id == project_id, AdapterVersion.deleted_at.is_(None)
    )
    for version in session.scalars(versions.order_by(AdapterVersion.id)):
        adapter, base = version.adapter.name, bases[version.base_model]
        target = ModelTarget(version.address, base, version=version)
        yield target.name, target
        for alias in aliases.get(version.id, ()):
            yield f"{adapter}@{alias}", target
        yield tuned_name(base.name, project.name, adapter, version.job_id), target
    merged = select(MergedModel).where(
        MergedModel.project_id == project_id, MergedModel.deleted_at.is_(None)
    )
    for row in session.scalars(merged.order_by(MergedModel.id)):
        yield row.name, ModelTarget(row.name, bases[row.base_model], merged=row)


def _aliases(session: Session, project_id: str) -> dict[str, list[str]]:
    """Of each version that has some."""
    rows = select(AdapterAlias).where(AdapterAlias.project_id == project_id)
    found: dict[str, list[str]] = {}
    for alias in session.scalars(rows.order_by(AdapterAlias.name)):
        found.setdefault(alias.version_id, []).append(alias.name)
    return found
