"""From a claimed job to the spec of its runner: inputs become local, a checkpoint is verified.

It may take long: the bytes are moved by `Aid.transfer`, which gives up when the attempt is to end.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from core.basemodels.store import ModelStore
from core.errors import JobFailure, NotFound, TuneyardError, Unavailable
from core.jobs import records
from core.jobs.claims import Claim
from core.jobs.models import Checkpoint, Job
from core.jobs.types import job_type
from core.jobs.types.base import Brief, Input
from core.settings import Settings
from core.storage import Storage, get_storage
from workers.checkpoints import fault_in
from workers.context import Spec, write_rows
from workers.node import count_processes

DIVIDED = ("train",)
"""Types of jobs that all devices of a worker do together. The others take the first."""

Doing = Callable[[Callable[[], Any]], Any]
Querying = Callable[[Callable[[Session], Any]], Any]


@dataclass(frozen=True)
class Aid:
    """How a briefing reads, writes and moves files without holding up who asked for it."""

    read: Querying
    write: Querying
    transfer: Doing


def make_spec(claim: Claim, settings: Settings, workdir: Path, device: str, aid: Aid) -> Spec:
    """Everything the runner needs, under `workdir` or read-only elsewhere on this machine."""
    brief = aid.read(lambda session: read_brief(session, claim.job_id))
    previous = workdir / "previous.jsonl"
    inputs = {}
    for name, one in brief.inputs.items():
        inputs[name] = str(aid.transfer(partial(localise, name, one, settings, workdir)))
    resume = verified_checkpoint(claim, settings, workdir, aid)
    processes = count_processes(settings, device) if claim.type in DIVIDED else 1
    return Spec(
        job_id=claim.job_id,
        type=claim.type,
        params=brief.params,
        inputs=inputs | write_documents(brief, workdir),
        workdir=str(workdir),
        device=device,
        threads=share_of_threads(settings.threads, processes),
        processes=processes,
        resume=str(resume) if resume else None,
        rows=aid.read(lambda session: copy_rows(session, claim.job_id, previous)),
        secrets=brief.secrets,
    )


def share_of_threads(threads: int, processes: int) -> int:
    """CPU threads of each process of a job that may have so many; 0 are all cores."""
    if processes == 1:
        return threads
    return max(1, (threads or os.cpu_count() or 1) // processes)


def read_brief(session: Session, job_id: str) -> Brief:
    """What the contract says now."""
    job = session.get_one(Job, job_id)
    return job_type(job.type).brief(session, job)


def copy_rows(session: Session, job_id: str, path: Path) -> str | None:
    """Write down the rows that earlier attempts left; None if there are none."""
    return write_rows(path, records.done_rows(session, job_id))


def localise(name: str, wanted: Input, settings: Settings, workdir: Path) -> Path:
    """A local path of an input, or a failure that says what is not there."""
    if wanted.store == "models":
        return base_model(wanted.key, settings)
    storage = get_storage(settings.storage_url)
    try:
        return storage.fetch(wanted.key, workdir / "inputs" / name)
    except TuneyardError as error:
        message = f"Input '{name}' is not to be had: {error.message}."
        away = isinstance(error, Unavailable) or is_away(storage)
        raise JobFailure("infra" if away else "config", message) from None


def base_model(name: str, settings: Settings) -> Path:
    try:
        return ModelStore(settings.model_dir).path(name)
    except NotFound as error:
        raise JobFailure(
            "infra",
            f"This worker lacks the base model '{name}': {error.message} Another worker may have "
            f"it; else an operator brings it with `tuneyard models fetch {name}`.",
        ) from None


def is_away(storage: Storage) -> bool:
    """A disk that is not mounted looks like a storage without files."""
    return storage.local and not Path(storage.root).is_dir()


def write_documents(brief: Brief, workdir: Path) -> dict[str, str]:
    paths = {}
    for name, text in brief.documents.items():
        path = workdir / f"{name}.document"
        path.write_text(text, encoding="utf-8")
        paths[name] = str(path)
    return paths


def verified_checkpoint(claim: Claim, settings: Settings, workdir: Path, aid: Aid) -> Path | None:
    """A copy of the newest checkpoint whose every file is as recorded; a bad one is rejected."""
    target = workdir / "resume"
    for one in aid.read(lambda session: records.usable_checkpoints(session, claim.job_id)):
        fault = aid.transfer(partial(fetch_checkpoint, one, settings, target))
        if fault is None:
            aid.write(partial(records.note_attempt, held=claim, resumed_from_step=one.step))
            return target
        aid.write(
            partial(records.reject_checkpoint, held=claim, checkpoint_id=one.id, reason=fault)
        )
    return None


def fetch_checkpoint(one: Checkpoint, settings: Settings, target: Path) -> str | None:
    """Copy a checkpoint to `target`; why it can't be used, or None."""
    shutil.rmtree(target, ignore_errors=True)
    storage = get_storage(settings.storage_url)
    try:
        found = storage.fetch(one.storage_key, target)
    except NotFound as error:
        if is_away(storage):
            raise JobFailure("infra", f"The storage is away: {error.message}.") from None
        return error.message
    if found != target:  # a local storage: rotation may delete the original while this one is read
        shutil.copytree(found, target)
    return fault_in(target, one.manifest)
