"""Every service call in every state, on both databases: what follows, and that all else is refused
without a write."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.basemodels.service import record_base
from core.db import Database, db_now
from core.errors import JobFailure, WrongState
from core.jobs import claims, records, service
from core.jobs.claims import Claim, LostClaim
from core.jobs.models import Attempt, Checkpoint, Job, JobEvent, ResultRow
from core.jobs.records import Report
from core.jobs.status import JobStatus
from core.jobs.types.base import Outcome
from core.jobs.types.generate import GenerateParams
from tests.core.jobs.jobs import add_job

PARAMS = GenerateParams(model="tiny", questions=["how many?"]).model_dump(mode="json")
CONFIG, INFRA = JobFailure("config", "no such column"), JobFailure("infra", "no storage")
REFUSED = (WrongState, LostClaim)

Q, R, P = JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PAUSED
S, F, C = JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED

Call = Callable[[Session, Job, Claim], Any]

USER: dict[str, tuple[Call, dict[JobStatus, JobStatus]]] = {
    "cancel": (lambda s, j, h: service.request_cancel(s, j.project_id, j.id), {Q: C, P: C, R: R}),
    "pause": (lambda s, j, h: service.request_pause(s, j.project_id, j.id), {Q: P, R: R}),
    "resume": (lambda s, j, h: service.resume(s, j.project_id, j.id), {P: Q}),
    "retry": (lambda s, j, h: service.retry(s, j.project_id, j.id), {F: F, C: C}),
    "end stranded": (lambda s, j, h: service.fail_stranded(s, j.id), {Q: F}),
    "claim": (lambda s, j, h: service.claim(s, j.id, "gpu1@b"), {Q: R}),
}
WORKER: dict[str, tuple[Call, dict[JobStatus, JobStatus]]] = {
    "succeed": (lambda s, j, h: service.succeed(s, h, Outcome({}, [], "k")), {R: S}),
    "fail": (lambda s, j, h: service.fail(s, h, CONFIG), {R: F}),
    "fail of infra": (lambda s, j, h: service.fail(s, h, INFRA), {R: Q}),
    "cancelled": (lambda s, j, h: service.cancelled(s, h), {R: C}),
    "paused": (lambda s, j, h: service.paused(s, h), {R: P}),
    "drained": (lambda s, j, h: service.requeue(s, h, outcome="drained", message="x"), {R: Q}),
    "lost": (lambda s, j, h: service.lost_runner(s, h, "It died."), {R: Q}),
    "renew": (lambda s, j, h: claims.renew(s, h), {R: R}),
    "report": (lambda s, j, h: records.write_report(s, h, Report(rows={1: {}}), log_seq=0), {R: R}),
    "checkpoint": (
        lambda s, j, h: records.add_checkpoint(
            s, h, step=1, storage_key="k", manifest=[], metrics={}
        ),
        {R: R},
    ),
    "rotate": (lambda s, j, h: records.drop_old_checkpoints(s, h, keep=1), {R: R}),
    "note": (lambda s, j, h: records.note_attempt(s, h, runner_pid=1), {R: R}),
}


@pytest.fixture
def base(database: Database, project_id: str) -> str:
    """A model for the jobs, without which a retry would be refused by the contract."""
    row = {"name": "tiny", "parameters": 1, "architecture": "L", "context_length": 8}
    with database.transaction() as session:
        record_base(session, row)
    return project_id


def make(session: Session, project_id: str, status: JobStatus, **values: Any) -> tuple[Job, Claim]:
    """A job in a state, as its first attempt has left it or has it."""
    job = add_job(session, project_id, type="generate", status=status, token=1, params=PARAMS)
    running = {"worker_id": "gpu0@a", "lease_expires_at": db_now() + 60} if status == R else {}
    for name, value in (running | values).items():
        setattr(job, name, value)
    outcome = {R: None, Q: "drained"}.get(status, str(status))
    session.add(Attempt(job_id=job.id, token=1, worker_id="gpu0@a", outcome=outcome))
    session.flush()
    session.refresh(job)
    return job, claims.claim_of(job)


def snapshot(database: Database, job_id: str) -> dict[str, Any]:
    """All that a call could write of a job."""
    with database.reading() as session:
        job = session.get_one(Job, job_id)
        found = {column.name: getattr(job, column.name) for column in Job.__table__.columns}
        found["attempts"] = [
            (a.token, a.outcome, a.message) for a in records.attempts(session, job_id)
        ]
        for table in (JobEvent, Checkpoint, ResultRow):
            count = select(func.count()).select_from(table).where(table.job_id == job_id)
            found[table.__tablename__] = session.scalar(count)
        found["jobs"] = session.scalar(select(func.count()).select_from(Job))
        return found


def attempt(database: Database, call: Call, job: Job, held: Claim) -> bool:
    """Make the call in a transaction of its own; was it carried out?"""
    try:
        with database.transaction() as session:
            # A claim that is not to be had is no error.
            return call(session, job, held) is not None or call is not USER["claim"][0]
    except REFUSED:
        return False


def test_every_call_in_every_state(database: Database, base: str) -> None:
    """A worker's call holds the very token that the row has: it is the state that refuses it."""
    for (name, (call, table)), state in itertools.product((USER | WORKER).items(), JobStatus):
        with database.transaction() as session:
            awaited = add_job(session, base, status=C).id if name == "end stranded" else None
            job, held = make(session, base, state, depends_on=awaited)
        before = snapshot(database, job.id)
        done = attempt(database, call, job, held)
        after = snapshot(database, job.id)
        where = f"{name} of a {state} job"
        if state in table:
            assert done, f"{where} was refused"
            assert after["status"] == table[state], where
        else:
            # Ending what is not stranded any more is no error: it just has no effect.
            assert not done or name == "end stranded", f"{where} was taken"
            assert after == before, f"{where} was refused and wrote all the same"


def test_a_call_with_an_old_token_writes_nothing(database: Database, base: str) -> None:
    for name, (call, _) in WORKER.items():
        with database.transaction() as session:
            job, held = make(session, base, R, token=2)
        zombie = claims.Claim(held.job_id, held.project_id, held.type, 1, 60)
        before = snapshot(database, job.id)
        assert not attempt(database, call, job, zombie), name
        assert snapshot(database, job.id) == before, name


ENDS = ("succeed", "fail", "fail of infra", "cancelled", "paused", "drained", "lost")


def test_what_the_user_wished_meanwhile_decides_where_an_attempt_leaves_its_job(
    database: Database, base: str
) -> None:
    """Ends stand; what would go on is cancelled or paused, a cancel before a pause."""
    wishes: dict[str, list[JobStatus]] = {
        "": [S, F, Q, C, P, Q, Q],
        "pause": [S, F, P, C, P, P, P],
        "cancel": [S, F, C, C, C, C, C],
        "cancel pause": [S, F, C, C, C, C, C],
    }
    for wished, ends in wishes.items():
        for name, expected in zip(ENDS, ends, strict=True):
            asked = {f"{wish}_requested_at": 1.0 for wish in wished.split()}
            with database.transaction() as session:
                job, held = make(session, base, R, **asked)
            assert attempt(database, WORKER[name][0], job, held), (name, wished)
            after = snapshot(database, job.id)
            assert after["status"] == expected, (name, wished)
            assert (after["barren_attempts"] == 1) == (name == "lost" and not wished), name
            [(_, outcome, _)] = after["attempts"]
            assert outcome is not None, (name, wished)
            if expected == P:
                assert after["pause_requested_at"] is None, "it would be paused again when resumed"
