"""Any order of submits, messages, claims, deaths, sweeps and wishes: the product does as the model.

Hypothesis makes up the orders; `protocol.Model` says what must be after each step. The product's
services work on a real database, on SQLite and on PostgreSQL. Messages are kept by the test like a
broker's: each may come at any time, several times, or never.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

import core.tables  # noqa: F401
from core import queue
from core.accounts.service import ensure_project
from core.adapters.models import AdapterVersion
from core.basemodels.service import record_base
from core.datasets.models import Dataset
from core.db import Base, Database, db_now
from core.errors import FAILURE_CLASSES, JobFailure, WrongState
from core.files.models import File
from core.fleet.service import retire
from core.jobs import claims, dispatch, records, retries, service
from core.jobs.claims import Claim, LostClaim
from core.jobs.models import Attempt, Checkpoint, Job, ResultRow
from core.jobs.records import Report
from core.jobs.retries import Rule
from core.jobs.sweep import sweep
from core.jobs.types import job_type
from core.jobs.types.base import Outcome
from core.settings import get_settings
from tests.core.conftest import database, postgres_template, sqlite_template
from tests.core.jobs.jobs import add_worker
from tests.faults.protocol import FINAL, MAX_BARREN, MAX_RETRIES, Model, ModelJob

__all__ = ["database", "postgres_template", "sqlite_template"]

KEPT = {"projects", "files", "datasets", "base_models", "alembic_version"}
PROJECTS = ("one", "other")
WORKERS = st.sampled_from(["gpu0@a", "gpu1@a", "gpu2@b"])
PICK = st.integers(0, 10_000)
LONG_AGO = 1.0
FOR_EVER = 1e9  # seconds: only a step ends a wait, never a slow machine
WISHES = ((), ("cancel",), ("pause",), ("pause", "cancel"))
ENDS = ("finish", "cancelled", "paused", "drained", "died", "asks for less", *FAILURE_CLASSES)
PARAMS = {
    "train": {"model": "tiny", "dataset": "pairs"},
    "evaluate": {"model": "tiny", "dataset": "pairs"},
}


def prepare(database: Database) -> dict[str, str]:
    """What jobs are about: a base model and, for each project, a ready dataset."""
    ids = {}
    with database.transaction() as session:
        base = {"name": "tiny", "parameters": 1, "architecture": "L", "context_length": 8}
        record_base(session, base)
        for name in PROJECTS:
            project = ensure_project(session, name)
            ids[name] = project.id
            file = File(id=f"file_{name}", project_id=project.id, purpose="fine-tune")
            file.filename, file.bytes, file.sha256, file.storage_key = "a", 1, "0", f"k/{name}"
            session.add(file)
            session.flush()
            dataset = Dataset(id=f"ds_{name}", project_id=project.id, name="pairs", status="ready")
            dataset.file_id, dataset.splits = file.id, {"train": 8, "test": 2}
            session.add(dataset)
    return ids


class Protocol(RuleBasedStateMachine):
    """The rules are what users, workers, the keeper and chance do."""

    database: Database
    projects: dict[str, str]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.claims: list[Claim] = []
        self.messages: list[str] = []
        self.sent: list[str] = []
        self.ended: dict[str, str] = {}
        queue.ring = self._ring
        with self.database.transaction() as session:
            for table in reversed(Base.metadata.sorted_tables):
                if table.name not in KEPT:
                    session.execute(delete(table))

    def _ring(self, job_id: str, *, number: int, queue: str, job_type: str) -> bool:
        self.sent.append(job_id)
        return True

    def _do(self, act: Callable[[Session], Any]) -> Any:
        """One transaction of the product, with all that it does after the commit."""
        with self.database.transaction() as session:
            return act(session)

    def _settle(self, *, dispatched: int = 1) -> None:
        """Hold the dispatcher to its promises after a step in which it ran not at all, once, or
        (2) several times, so that the order is not known."""
        sent, self.sent = self.sent, []
        expected = self.model.next_rings() if dispatched else []
        if dispatched < 2:
            assert sent == expected, "not those that are next, in fair order, for the free slots"
        assert len(set(sent)) == len(sent), "a job was rung for twice at once"
        assert set(sent) <= {job.id for job in self.model.ready()}, "rung for what may not run"
        assert len(sent) <= self.model.free_slots(), "rung for more jobs than there are free slots"
        for job_id in sent:
            self.model.jobs[job_id].rung = True
        if dispatched:
            assert not self.model.next_rings(), "a slot stays free though a job could run"
        self.messages += sent

    def _fenced(self, held: Claim, write: Callable[[Session], Any]) -> bool:
        """A worker's write: done by the live claim, refused to every other; says which."""
        live = self.model.holds(held.job_id, held.token)
        try:
            self._do(write)
        except LostClaim:
            assert not live, "the live claim was refused"
            return False
        assert live, "a claim that is not the live one has written"
        return True

    # -- users -----------------------------------------------------------------------------------

    @rule(
        project=st.sampled_from(PROJECTS),
        kind=st.sampled_from(sorted(PARAMS)),
        priority=st.sampled_from([0, 0, 0, 5, -5]),
    )
    def submit(self, project: str, kind: str, priority: int) -> None:
        self._submit(project, kind, priority, None)

    @precondition(lambda self: self.model.jobs)
    @rule(kind=st.sampled_from(sorted(PARAMS)), pick=PICK)
    def submit_behind(self, kind: str, pick: int) -> None:
        awaited = self._job(pick, "queued", "running", "paused")
        self._submit(self.model.jobs[awaited].project, kind, 0, awaited)

    def _submit(self, project: str, kind: str, priority: int, awaited: str | None) -> None:
        job = self._do(
            lambda session: service.submit(
                session,
                self.projects[project],
                kind,
                job_type(kind).params(**PARAMS[kind]),
                priority=priority,
                depends_on=awaited,
            )
        )
        self.model.submit(ModelJob(job.id, project, kind, priority, awaited))
        self._settle()

    def _job(self, pick: int, *wanted: str) -> str:
        """A job, mostly one of those states, if there is one."""
        likely = [one.id for one in self.model.jobs.values() if one.status in wanted]
        some = likely if likely and pick % 4 else list(self.model.jobs)
        return some[pick // 4 % len(some)]

    @precondition(lambda self: self.model.jobs)
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        self._wish(self._job(pick, "queued", "running", "paused"), "cancel")

    @precondition(lambda self: self.model.jobs)
    @rule(pick=PICK)
    def pause(self, pick: int) -> None:
        self._wish(self._job(pick, "queued", "running"), "pause")

    @precondition(lambda self: self.model.jobs)
    @rule(pick=PICK)
    def resume(self, pick: int) -> None:
        self._wish(self._job(pick, "paused"), "resume")

    def _wish(self, job_id: str, wish: str) -> None:
        write, follow = {
            "cancel": (service.request_cancel, self.model.request_cancel),
            "pause": (service.request_pause, self.model.request_pause),
            "resume": (service.resume, self.model.resume),
        }[wish]
        project_id = self.projects[self.model.jobs[job_id].project]
        allowed = follow(job_id)
        self._asked(allowed, _with(write, project_id, job_id))
        self._settle(dispatched=int(allowed and wish == "resume"))

    @precondition(lambda self: self.model.jobs)
    @rule(pick=PICK)
    def retry(self, pick: int) -> None:
        job_id = self._job(pick, "failed", "cancelled")
        old = self.model.jobs[job_id]
        allowed = self.model.may_be_retried(job_id)
        new = self._asked(allowed, _with(service.retry, self.projects[old.project], job_id))
        if new is not None:
            self.model.retried(job_id, ModelJob(new.id, old.project, old.type, old.priority, None))
            self._settle()

    def _asked(self, allowed: bool, wish: Callable[[Session], Any]) -> Any:
        """A user's wish, which the product must grant or refuse as the model says."""
        try:
            answer = self._do(wish)
        except WrongState:
            assert not allowed, "a wish that can be granted was refused"
            return None
        assert allowed, "a wish that can't be granted was taken"
        return answer

    # -- the keeper and the fleet ----------------------------------------------------------------

    @initialize()
    def two_workers_join(self) -> None:
        self.join("gpu0@a")
        self.join("gpu1@a")

    @rule(name=WORKERS)
    def join(self, name: str) -> None:
        self._do(lambda session: add_worker(session, name))
        self.model.workers.add(name)

    @rule(name=WORKERS)
    def drain(self, name: str) -> None:
        self._do(lambda session: retire(session, name))
        self.model.workers.discard(name)

    @rule()
    def dispatch(self) -> None:
        assert dispatch.dispatch() == len(self.sent)
        assert dispatch.dispatch() == 0, "rung twice for the same slots"
        self._settle()

    @precondition(lambda self: self.model.jobs)
    @rule(pick=PICK)
    def a_ring_is_lost(self, pick: int) -> None:
        """So long ago that the dispatcher gives up waiting for somebody to come."""
        job_id = self._job(pick, "queued")
        late = _of(job_id).values(rung_at=LONG_AGO)
        self._do(lambda session: session.execute(late))
        self.model.jobs[job_id].rung = False

    @precondition(lambda self: self.claims)
    @rule(who=PICK)
    def a_lease_runs_out(self, who: int) -> None:
        held = self._claim(who)
        if self.model.holds(held.job_id, held.token):
            late = _of(held.job_id).values(lease_expires_at=db_now() - 1)
            self._do(lambda session: session.execute(late))
            self.model.jobs[held.job_id].lapsed = True

    @rule()
    def sweep(self) -> None:
        assert sweep() == self.model.sweep()
        self._settle(dispatched=2)

    # -- workers ---------------------------------------------------------------------------------

    @precondition(lambda self: self.messages)
    @rule(pick=PICK, worker=WORKERS)
    def a_message_arrives(self, pick: int, worker: str) -> None:
        """Any message that was ever sent, to any worker, any number of times."""
        self._arrives(self._message(pick), worker)

    def _message(self, pick: int) -> str:
        awaited = [one for one in self.messages if self.model.jobs[one].status == "queued"]
        some = awaited if awaited and pick % 4 else self.messages
        return some[pick // 4 % len(some)]

    def _arrives(self, job_id: str, worker: str) -> Claim | None:
        expected = self.model.claim(job_id)
        held = self._do(lambda session: service.claim(session, job_id, worker))
        assert (held is not None) == expected
        if held is not None:
            self.claims.append(held)
        return held

    @precondition(lambda self: self.messages)
    @rule(pick=PICK, worker=WORKERS, wishes=st.sampled_from(WISHES), end=st.sampled_from(ENDS))
    def a_whole_attempt(self, pick: int, worker: str, wishes: tuple[str, ...], end: str) -> None:
        """One with another job behind it, wishes in its midst, and an end."""
        job_id = self._message(pick)
        held = self._arrives(job_id, worker)
        if held is None:
            return
        self._submit(self.model.jobs[job_id].project, "evaluate", 0, job_id)
        for one in wishes:
            self._wish(job_id, one)
        self._ends(held, end)

    @precondition(lambda self: self.messages)
    @rule(pick=PICK, worker=WORKERS, times=st.integers(1, MAX_BARREN + 1))
    def a_job_kills_its_runners(self, pick: int, worker: str, times: int) -> None:
        job_id = self._message(pick)
        while times and (held := self._arrives(job_id, worker)):
            self._ends(held, "died")
            times -= 1

    @precondition(lambda self: self.messages)
    @rule(pick=PICK, worker=WORKERS, times=st.integers(1, MAX_RETRIES + 2))
    def a_storage_stays_away(self, pick: int, worker: str, times: int) -> None:
        job_id = self._message(pick)
        while times and (held := self._arrives(job_id, worker)):
            self._ends(held, "infra")
            assert self._arrives(job_id, worker) is None, "the wait was cut short"
            self._wait_no_longer(job_id)
            times -= 1

    def _claim(self, who: int) -> Claim:
        """A claim that was given: mostly a live one, now and then one whose job another holds."""
        running = [one for one in self.claims if self.model.jobs[one.job_id].status == "running"]
        live = [one for one in running if self.model.holds(one.job_id, one.token)]
        lost = [one for one in running if one not in live]
        some = (self.claims, lost, live, live)[who % 4] or self.claims
        return some[who // 4 % len(some)]

    @precondition(lambda self: self.claims)
    @rule(who=PICK)
    def renew(self, who: int) -> None:
        held = self._claim(who)
        heard: list[claims.Wishes] = []
        if self._fenced(held, lambda session: heard.append(claims.renew(session, held))):
            job = self.model.jobs[held.job_id]
            job.lapsed = False
            assert (heard[0].cancel, heard[0].pause) == (job.cancel, job.pause)

    @precondition(lambda self: self.claims)
    @rule(who=PICK, step=st.integers(1, 5))
    def checkpoint(self, who: int, step: int) -> None:
        held = self._claim(who)
        if step in self.model.jobs[held.job_id].steps:
            return
        if self._fenced(
            held,
            lambda session: records.add_checkpoint(
                session, held, step=step, storage_key=f"k/{step}", manifest=[], metrics={}
            ),
        ):
            self.model.checkpoint(held.job_id, step)

    @precondition(lambda self: self.claims)
    @rule(who=PICK, row=st.integers(0, 5))
    def report(self, who: int, row: int) -> None:
        held = self._claim(who)
        report = Report(rows={row: {"by": held.token}}, metrics={row: {"loss": 1.0}}, log="x")
        write = _with(records.write_report, held, report, log_seq=0)
        if self._fenced(held, write):
            self.model.report(held.job_id, row)

    @precondition(lambda self: self.claims)
    @rule(who=PICK, end=st.sampled_from(ENDS))
    def end(self, who: int, end: str) -> None:
        self._ends(self._claim(who), end)

    def _ends(self, held: Claim, end: str) -> None:
        write, follow = self._end(held, end)
        if self._fenced(held, write):
            follow(held.job_id)
            self._settle()

    def _end(self, held: Claim, end: str) -> tuple[Callable, Callable]:
        """However a worker may end its attempt: what it writes, and what the model does."""
        if end == "finish":
            outcome = Outcome({"resolved": {}}, [], f"attempt-{held.token}")
            return _with(service.succeed, held, outcome), self.model.succeed
        if end == "cancelled":
            return _with(service.cancelled, held), self.model.cancelled
        if end == "paused":
            return _with(service.paused, held), self.model.paused
        if end == "drained":
            told = {"outcome": "drained", "message": "told to stop"}
            return _with(service.requeue, held, **told), self.model.drained
        if end in FAILURE_CLASSES:
            again = retries.RULES[end].times > 0
            failure = JobFailure(end, "it broke")
            return _with(service.fail, held, failure), partial(self.model.fail, again=again)
        counted = {"barren": end == "died"}
        return _with(service.lost_runner, held, "killed", **counted), partial(
            self.model.died, **counted
        )

    @precondition(lambda self: self.model.jobs)
    @rule(pick=PICK)
    def the_wait_after_a_failure_is_over(self, pick: int) -> None:
        self._wait_no_longer(self._job(pick, "queued"))

    def _wait_no_longer(self, job_id: str) -> None:
        over = _of(job_id).where(Job.run_after.is_not(None)).values(run_after=LONG_AGO)
        self._do(lambda session: session.execute(over))
        self.model.jobs[job_id].waits = False

    # -- what holds after every step -------------------------------------------------------------

    @invariant()
    def the_promises_hold(self) -> None:
        with self.database.reading() as session:
            found = _read(session)
        assert found == {job.id: job.state() for job in self.model.jobs.values()}
        for job_id, state in found.items():
            job = self.model.jobs[job_id]
            self._an_end_is_an_end(job_id, state["status"])
            self._only_the_live_attempt_is_open(state)
            published = job.type == "train" and state["status"] == "succeeded"
            assert state["versions"] == published, "a success has exactly one version"
            if state["status"] == "running" and job.depends_on is not None:
                assert found[job.depends_on]["status"] == "succeeded", "it ran too early"

    def _an_end_is_an_end(self, job_id: str, status: str) -> None:
        if status in FINAL:
            self.ended.setdefault(job_id, status)
        assert self.ended.get(job_id, status) == status, "a job that had ended went on"

    def _only_the_live_attempt_is_open(self, state: dict[str, Any]) -> None:
        is_open = [outcome is None for outcome in state["outcomes"]]
        assert len(is_open) == state["token"], "an attempt a token"
        assert sum(is_open) == (state["status"] == "running"), "one live token at most"
        assert not any(is_open[:-1]), "only the last attempt can be open"


def _of(job_id: str) -> Any:
    return update(Job).where(Job.id == job_id)


def _with(write: Callable[..., Any], *arguments: Any, **named: Any) -> Callable[[Session], Any]:
    return lambda session: write(session, *arguments, **named)


def _read(session: Session) -> dict[str, dict[str, Any]]:
    """Every job of the database in the model's words."""
    fresh = db_now() - get_settings().ring_again_seconds
    found = {}
    for job, rung in session.execute(select(Job, Job.rung_at > fresh)):
        found[job.id] = {
            "status": job.status,
            "token": job.token,
            "barren": job.barren_attempts,
            "retries": job.retries,
            "rung": job.status == "queued" and bool(rung),
            "waits": job.status == "queued" and (job.run_after or 0) > LONG_AGO,
            "cancel": job.cancel_requested_at is not None,
            "pause": job.pause_requested_at is not None,
            "outcomes": [],
            "steps": [],
            "rows": [],
            "versions": 0,
        }
    for attempt in session.scalars(select(Attempt).order_by(Attempt.job_id, Attempt.token)):
        found[attempt.job_id]["outcomes"].append(attempt.outcome)
    for one in session.scalars(select(Checkpoint).order_by(Checkpoint.job_id, Checkpoint.step)):
        found[one.job_id]["steps"].append(one.step)
    for row in session.scalars(select(ResultRow).order_by(ResultRow.job_id, ResultRow.row)):
        found[row.job_id]["rows"].append(row.row)
    for job_id in session.scalars(select(AdapterVersion.job_id)):
        found[job_id]["versions"] += 1
    return found


def check(database: Database, monkeypatch: pytest.MonkeyPatch, examples: int) -> None:
    monkeypatch.setattr(queue, "ring", None)  # put back at the end; the machine writes its own
    chosen = get_settings()
    for name in ("lease_seconds", "ring_again_seconds"):
        monkeypatch.setattr(chosen, name, FOR_EVER)
    for klass in [name for name, one in retries.RULES.items() if one.times]:
        patient = Rule(MAX_RETRIES, first_seconds=FOR_EVER, longest_seconds=FOR_EVER)
        monkeypatch.setitem(retries.RULES, klass, patient)
    monkeypatch.setattr(chosen, "max_barren_attempts", MAX_BARREN)
    machine = type("Machine", (Protocol,), {"database": database, "projects": prepare(database)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_protocol_does_as_the_model_in_any_order(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(database, monkeypatch, examples=20)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_the_protocol_does_as_the_model_in_any_of_many_orders(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(database, monkeypatch, examples=400)
