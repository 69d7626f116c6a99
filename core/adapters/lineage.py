"""Where a version came from and what was made of it. Reads only; knows no job type's contract."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.adapters.models import AdapterAlias, AdapterVersion
from core.basemodels.models import BaseModel, MergedModel
from core.databases.models import TargetDatabase
from core.datasets.models import Dataset
from core.evaluations.service import all_of as evaluations_of
from core.jobs.models import Job


@dataclass(frozen=True)
class Lineage:
    """`parent`: what its training started from, if not from nothing."""

    version: AdapterVersion
    base: BaseModel
    dataset: Dataset
    database: TargetDatabase | None
    job: Job | None
    parent: str | None
    evaluations: list[Job]
    merged: list[MergedModel]
    aliases: list[AdapterAlias]


def trace(session: Session, version: AdapterVersion) -> Lineage:
    dataset = session.get_one(Dataset, version.dataset_id)
    database = dataset.database_id and session.get(TargetDatabase, dataset.database_id)
    job = session.get(Job, version.job_id)
    evaluations = evaluations_of(version.project_id).where(
        Job.params["model"].as_string() == version.address
    )
    merged = select(MergedModel).where(
        MergedModel.adapter_version_id == version.id, MergedModel.deleted_at.is_(None)
    )
    aliases = select(AdapterAlias).where(AdapterAlias.version_id == version.id)
    return Lineage(
        version=version,
        base=session.get_one(BaseModel, version.base_model),
        dataset=dataset,
        database=database or None,
        job=job,
        parent=job.params.get("continue_from") if job else None,
        evaluations=list(session.scalars(evaluations.order_by(Job.id))),
        merged=list(session.scalars(merged.order_by(MergedModel.id))),
        aliases=list(session.scalars(aliases.order_by(AdapterAlias.name))),
    )
