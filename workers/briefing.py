"""From a claimed job to the spec of its runner: inputs become local, a checkpoint is verified."""

import shutil
from pathlib import Path
from typing import Any

from core.basemodels.store import ModelStore
from core.db import get_database
from core.errors import JobFailure, TuneyardError
from core.jobs import records
from core.jobs.claims import Claim
from core.jobs.models import Job
from core.jobs.types import job_type
from core.jobs.types.base import Brief, Input
from core.settings import Settings
from core.storage import get_storage
from workers.checkpoints import fault_in
from workers.context import Spec, write_rows


def make_spec(claim: Claim, settings: Settings, workdir: Path, device: str) -> Spec:
    """Everything the runner needs, under `workdir` or read-only elsewhere on this machine."""
    database = get_database(settings)
    with database.reading() as session:
        job = session.get_one(Job, claim.job_id)
        brief = job_type(job.type).brief(session, job)
        rows = records.done_rows(session, job.id)
    inputs = {
        name: str(localise(name, one, settings, workdir)) for name, one in brief.inputs.items()
    }
    resume = verified_checkpoint(claim, settings, workdir)
    return Spec(
        job_id=claim.job_id,
        type=claim.type,
        params=brief.params,
        inputs=inputs | write_documents(brief, workdir),
        workdir=str(workdir),
        device=device,
        threads=settings.threads,
        resume=str(resume) if resume else None,
        rows=write_rows(workdir / "previous.jsonl", rows) if rows else None,
    )


def localise(name: str, wanted: Input, settings: Settings, workdir: Path) -> Path:
    """A local path of an input, or a failure that says what is not there."""
    try:
        if wanted.store == "models":
            return ModelStore(settings.model_dir).path(wanted.key)
        return get_storage(settings.storage_url).fetch(wanted.key, workdir / "inputs" / name)
    except TuneyardError as error:
        raise JobFailure("config", f"Input '{name}' is not to be had: {error.message}") from None


def write_documents(brief: Brief, workdir: Path) -> dict[str, str]:
    paths = {}
    for name, text in brief.documents.items():
        path = workdir / f"{name}.document"
        path.write_text(text, encoding="utf-8")
        paths[name] = str(path)
    return paths


def verified_checkpoint(claim: Claim, settings: Settings, workdir: Path) -> Path | None:
    """A copy of the newest checkpoint whose every file is as recorded; a bad one is rejected."""
    database = get_database(settings)
    with database.reading() as session:
        candidates = records.usable_checkpoints(session, claim.job_id)
    for candidate in candidates:
        folder, fault = _fetch_checkpoint(
            candidate.storage_key, candidate.manifest, settings, workdir
        )
        with database.transaction() as session:
            if fault is None:
                records.note_attempt(session, claim, resumed_from_step=candidate.step)
                return folder
            records.reject_checkpoint(session, claim, candidate.id, fault)
    return None


def _fetch_checkpoint(
    key: str, manifest: list[dict[str, Any]], settings: Settings, workdir: Path
) -> tuple[Path, str | None]:
    target = workdir / "resume"
    shutil.rmtree(target, ignore_errors=True)
    try:
        found = get_storage(settings.storage_url).fetch(key, target)
    except TuneyardError as error:
        return target, error.message
    if found != target:  # a local storage: rotation may delete the original while this one is read
        shutil.copytree(found, target)
    return target, fault_in(target, manifest)
