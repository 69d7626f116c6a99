"""Deletes models: adapter versions, merged models, checkpoints. What is in use stays, and the
refusal says who uses it. Knows no job type.

A version's and a merged model's row stays, marked, so that its number or name is never given again.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.adapters.models import Adapter, AdapterAlias, AdapterVersion
from core.adapters.names import ModelTarget, hold_model, resolve_model
from core.artifacts.service import forget_files
from core.basemodels.models import MergedModel
from core.db import after_commit, db_now
from core.errors import Forbidden, TuneyardError, WrongState
from core.jobs.models import Checkpoint, Job
from core.jobs.records import unpointed_keys
from core.jobs.status import FINAL
from core.jobs.uses import named_models
from core.storage import get_storage


def delete_model(session: Session, project_id: str, name: str) -> None:
    """Delete what the name means for good, or raise who needs it (`WrongState`)."""
    target = hold_model(session, project_id, name, alone=True)
    if target.own is None:
        raise Forbidden(
            f"'{name}' is a base model, which all projects share; its operator alone removes it.",
            code="base_model",
        )
    _require_unused(session, project_id, target)
    if target.checkpoint is not None:
        _delete_checkpoint(session, target.checkpoint)
    elif target.merged is not None:
        _delete_files(session, target.merged)
    else:
        _require_unnamed(session, target.version)
        _delete_files(session, target.version)


def _require_unused(session: Session, project_id: str, target: ModelTarget) -> None:
    for named, job_id in named_models(session, project_id).items():
        try:
            used = resolve_model(session, project_id, named)
        except TuneyardError:
            continue  # a checkpoint's id, or a model that is gone already
        if used.own is target.own:
            raise _in_use(target.name, f"job '{job_id}' needs it and has not ended")


def _require_unnamed(session: Session, version: AdapterVersion) -> None:
    alias = session.scalar(select(AdapterAlias).where(AdapterAlias.version_id == version.id))
    if alias is not None:
        adapter = session.get_one(Adapter, alias.adapter_id)
        raise _in_use(
            version.address, f"the alias '{adapter.name}@{alias.name}' stands for it; move it first"
        )
    merged = session.scalar(
        select(MergedModel).where(
            MergedModel.adapter_version_id == version.id, MergedModel.deleted_at.is_(None)
        )
    )
    if merged is not None:
        reason = f"the merged model '{merged.name}' was made of it; delete that one first"
        raise _in_use(version.address, reason)


def _delete_files(session: Session, row: AdapterVersion | MergedModel) -> None:
    row.deleted_at = session.scalar(select(db_now()))
    forget_files(session, row.storage_key)
    after_commit(session, lambda: get_storage().delete(row.storage_key))


def _delete_checkpoint(session: Session, checkpoint: Checkpoint) -> None:
    job = session.get_one(Job, checkpoint.job_id)
    if job.status not in FINAL:
        reason = f"its training '{job.id}' is {job.status} and may go on from it"
        raise _in_use(f"the checkpoint of step {checkpoint.step}", reason)
    session.delete(checkpoint)
    session.flush()
    for key in unpointed_keys(session, [checkpoint.storage_key]):
        after_commit(session, lambda key=key: get_storage().delete(key))


def _in_use(name: str, reason: str) -> WrongState:
    return WrongState(f"The model '{name}' is in use: {reason}.", code="model_in_use")
