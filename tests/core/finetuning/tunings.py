"""A fine-tuning job as a submit leaves it, and what its workers do to it."""

from sqlalchemy.orm import Session

from core.basemodels.service import record_base
from core.db import Database
from core.errors import JobFailure
from core.files.models import File
from core.finetuning import service
from core.finetuning.order import Order
from core.ids import new_id
from core.jobs import service as jobs
from core.jobs.claims import Claim
from core.jobs.models import Job
from core.jobs.types.base import Outcome

TINY = {
    "name": "tiny",
    "parameters": 1_000_000,
    "architecture": "LlamaForCausalLM",
    "context_length": 2048,
}
REPORT = {
    "rows": 2,
    "rejected": 1,
    "problems": [
        {
            "line": 2,
            "path": "$.messages[0].role",
            "code": "bad_role",
            "message": 'role is "gpt"; call it assistant',
            "severity": "error",
        }
    ],
}


def add_file(session: Session, project_id: str, *, purpose: str = "fine-tune") -> str:
    file = File(
        id=new_id("file"),
        project_id=project_id,
        purpose=purpose,
        filename="pairs.jsonl",
        bytes=1,
        sha256="0",
        storage_key="files/pairs",
    )
    session.add(file)
    session.flush()
    return file.id


def submit(database: Database, project_id: str, **values) -> Job:
    with database.transaction() as session:
        record_base(session, TINY)
        file = add_file(session, project_id)
        order = Order(**{"model": "tiny", "training_file": file} | values)
        return service.create(session, project_id, order)


def read(database: Database, job_id: str) -> Job:
    with database.reading() as session:
        return session.get_one(Job, job_id)


def take(database: Database, job_id: str) -> Claim:
    with database.transaction() as session:
        return jobs.claim(session, job_id, "worker@here")


def refuse_files(database: Database, prepare_id: str, *, file: str | None = None) -> None:
    """The prepare job finds a bad line."""
    claim = take(database, prepare_id)
    problem = REPORT["problems"][0] | ({"file": file} if file else {})
    result = {"status": "invalid", "report": REPORT | {"problems": [problem]}}
    with database.transaction() as session:
        jobs.succeed(session, claim, Outcome(result, [], "out"))


def accept_files(database: Database, prepare_id: str) -> None:
    claim = take(database, prepare_id)
    made = {"splits": {"train": 1}, "statistics": {}, "content_hash": "h", "kind": "sql"}
    result = {"status": "ready", "report": REPORT} | made
    with database.transaction() as session:
        jobs.succeed(session, claim, Outcome(result, [], "out"))


def fail(database: Database, claim: Claim, klass: str, message: str) -> None:
    with database.transaction() as session:
        jobs.fail(session, claim, JobFailure(klass, message))
