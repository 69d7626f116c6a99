"""Batches on a database of their own: what these tests need of an upload and of a worker."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import select

from core.basemodels.service import record_base
from core.batches import output, service
from core.batches.service import Order
from core.batches.validation import validate
from core.db import Database
from core.files import service as files
from core.files.models import File
from core.jobs import records
from core.jobs.claims import Claim
from core.jobs.models import Job
from core.jobs.records import Report
from core.storage import StoredFile, get_storage, hash_file
from tests.core.batches.test_lines import CHAT, line

TINY = {
    "name": "tiny",
    "parameters": 1_000_000,
    "architecture": "LlamaForCausalLM",
    "context_length": 2048,
    "licence": "none",
}


def upload(database: Database, project_id: str, folder: Path, names: Iterable[str]) -> str:
    """The id of a batch's file with a line of each name."""
    path = folder / "batch.jsonl"
    path.write_text("".join(json.dumps(line(name)) + "\n" for name in names), encoding="utf-8")
    stored = StoredFile(path.name, path.stat().st_size, hash_file(path))
    with (
        files.stored_upload(project_id, path) as key,
        database.transaction() as session,
    ):
        made = {"filename": path.name, "purpose": "batch", "stored": stored, "storage_key": key}
        return files.create(session, project_id, **made).id


def make_batch(
    database: Database, project_id: str, file_id: str, *, window: str = "24h", **order: Any
) -> str:
    with database.transaction() as session:
        record_base(session, TINY)
        key = service.input_of(session, project_id, file_id).storage_key
        verdict = validate(get_storage().fetch(key, Path("unused")), CHAT)
        asked = Order(file_id, CHAT, window, order.pop("metadata", {}), **order)
        return service.create(session, project_id, asked, verdict).id


def answer(database: Database, claim: Claim, rows: dict[int, str], *, failed: int = 0) -> None:
    """A worker's report: answers by row, with the names of their lines; and how it counts them."""
    usage = {"prompt_tokens": 10, "completion_tokens": 2}
    data = {row: output.answered(name, {"usage": usage}) for row, name in rows.items()}
    progress = {"step": len(rows), "total": 5, "failed": failed}
    with database.transaction() as session:
        records.write_report(session, claim, Report(rows=data, progress=progress), log_seq=0)


def job_of(database: Database, batch_id: str) -> Job:
    with database.reading() as session:
        return session.get_one(Job, batch_id)


def outputs(database: Database) -> list[File]:
    with database.reading() as session:
        return list(session.scalars(select(File).where(File.purpose == "batch_output")))


def lines_of(database: Database, file_id: str | None) -> list[dict[str, Any]]:
    """What a file of a batch holds."""
    if file_id is None:
        return []
    with database.reading() as session:
        key = session.get_one(File, file_id).storage_key
    with get_storage().open(key) as file:
        return [json.loads(text) for text in file]
