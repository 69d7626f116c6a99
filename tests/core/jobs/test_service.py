"""The job's life on both databases: what each write allows, and what it refuses."""

import itertools
import os
import subprocess
import sys

import pytest
from sqlalchemy import func, select

from core.db import Database
from core.errors import JobFailure, NotFound, WrongState
from core.jobs import claims, records, service
from core.jobs.claims import LostClaim
from core.jobs.models import Attempt, Job, JobEvent
from core.jobs.records import Report
from core.jobs.status import TRANSITIONS, JobStatus
from core.jobs.sweep import sweep
from tests.core.jobs.jobs import add_job
from tests.core.jobs.lives import lapse, read, take


@pytest.fixture
def job_id(database: Database, project_id: str) -> str:
    with database.transaction() as session:
        return add_job(session, project_id).id


def test_a_status_is_written_exactly_where_the_table_allows(
    database: Database, project_id: str
) -> None:
    with database.transaction() as session:
        for start, to in itertools.product(JobStatus, JobStatus):
            job = add_job(session, project_id, status=start)
            written = service.transition(session, job.id, to, "try")
            events = session.scalars(select(JobEvent).where(JobEvent.job_id == job.id)).all()
            allowed = to in TRANSITIONS[start]
            assert (written is not None) == allowed, f"{start} -> {to}"
            assert len(events) == int(allowed), f"{start} -> {to}"
            status = select(Job.status).where(Job.id == job.id)
            assert session.scalar(status) == (to if allowed else start), f"{start} -> {to}"


def test_a_claim_is_given_once(database: Database, job_id: str) -> None:
    first = take(database, job_id)
    with database.transaction() as session:
        assert service.claim(session, job_id, "gpu1@b") is None
    assert first.token == 1
    assert read(database, job_id).worker_id == "gpu0@a"


@pytest.mark.fault(4)
def test_eight_processes_race_and_each_job_is_claimed_once(
    database: Database, project_id: str
) -> None:
    with database.transaction() as session:
        ids = [add_job(session, project_id).id for _ in range(25)]
    code = (
        "import sys; import core.tables; from core.db import get_database\n"
        "from core.jobs import service\n"
        "won = 0\n"
        "for job_id in sys.argv[1:]:\n"
        "    with get_database().transaction() as session:\n"
        "        won += service.claim(session, job_id, 'w') is not None\n"
        "print(won)"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, *ids], stdout=subprocess.PIPE, env=os.environ, text=True
        )
        for _ in range(8)
    ]
    won = [int(racer.communicate(timeout=120)[0]) for racer in racers]
    assert sum(won) == len(ids)
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Attempt)) == len(ids)


def test_a_zombie_writes_nothing_after_its_job_was_given_to_another(
    database: Database, job_id: str
) -> None:
    zombie = take(database, job_id)
    lapse(database, job_id)
    assert sweep() == 1
    heir = take(database, job_id, "gpu1@b")
    assert heir.token == 2
    attempts = [
        lambda s: claims.renew(s, zombie),
        lambda s: service.fail(s, zombie, JobFailure("crash", "late")),
        lambda s: service.cancelled(s, zombie),
        lambda s: service.paused(s, zombie),
        lambda s: service.requeue(s, zombie, outcome="drained", message="late"),
        lambda s: service.lost_runner(s, zombie, "late"),
        lambda s: records.write_report(s, zombie, Report(rows={1: {"late": True}}), log_seq=0),
        lambda s: records.add_checkpoint(
            s, zombie, step=1, storage_key="late", manifest=[], metrics={}
        ),
    ]
    for late_write in attempts:
        with pytest.raises(LostClaim), database.transaction() as session:
            late_write(session)
    after = read(database, job_id)
    assert (after.status, after.token, after.worker_id) == ("running", 2, "gpu1@b")
    with database.reading() as session:
        assert list(records.done_rows(session, job_id)) == []


def test_a_lease_that_runs_is_not_swept(database: Database, job_id: str) -> None:
    take(database, job_id)
    assert sweep() == 0
    assert read(database, job_id).status == "running"


def test_a_running_row_without_a_lease_is_swept(database: Database, project_id: str) -> None:
    with database.transaction() as session:
        job = add_job(session, project_id, status="running", token=1)
    assert sweep() == 1
    assert read(database, job.id).status == "queued"


def test_three_attempts_that_bring_nothing_are_the_end(database: Database, job_id: str) -> None:
    for _ in range(3):
        take(database, job_id)
        lapse(database, job_id)
        sweep()
    job = read(database, job_id)
    assert job.status == "failed"
    assert job.error["class"] == "crash"
    assert "3 attempts" in job.error["message"]
    with database.reading() as session:
        outcomes = [attempt.outcome for attempt in records.attempts(session, job_id)]
    assert outcomes == ["lost", "lost", "lost"]


def test_a_checkpoint_makes_an_attempt_count_as_progress(database: Database, job_id: str) -> None:
    for step in range(4):
        claim = take(database, job_id)
        with database.transaction() as session:
            records.add_checkpoint(
                session, claim, step=step, storage_key=f"k{step}", manifest=[], metrics={}
            )
        lapse(database, job_id)
        sweep()
    assert read(database, job_id).status == "queued"


def test_rotation_keeps_the_newest_and_the_best_checkpoint(database: Database, job_id: str) -> None:
    claim = take(database, job_id)
    with database.transaction() as session:
        for step, loss in enumerate([0.5, 0.1, 0.4, 0.3, 0.2]):
            records.add_checkpoint(
                session,
                claim,
                step=step,
                storage_key=f"k{step}",
                manifest=[],
                metrics={"validation_loss": loss},
            )
        dropped = records.drop_old_checkpoints(session, claim, keep=2)
        kept = [one.step for one in records.usable_checkpoints(session, job_id)]
    assert sorted(dropped) == ["k0", "k2"]
    assert kept == [4, 3, 1]


def test_a_queued_job_is_cancelled_at_once(
    database: Database, project_id: str, job_id: str
) -> None:
    with database.transaction() as session:
        service.request_cancel(session, project_id, job_id)
    assert read(database, job_id).status == "cancelled"
    with pytest.raises(WrongState, match="has ended"), database.transaction() as session:
        service.request_cancel(session, project_id, job_id)


def test_a_running_job_hears_the_wish_to_cancel(
    database: Database, project_id: str, job_id: str
) -> None:
    claim = take(database, job_id)
    with database.transaction() as session:
        asked = service.request_cancel(session, project_id, job_id)
    assert asked.status == "running"
    with database.transaction() as session:
        assert claims.renew(session, claim).cancel
        service.cancelled(session, claim)
    assert read(database, job_id).status == "cancelled"


def test_a_wish_to_cancel_outlives_the_worker(
    database: Database, project_id: str, job_id: str
) -> None:
    take(database, job_id)
    with database.transaction() as session:
        service.request_cancel(session, project_id, job_id)
    lapse(database, job_id)
    sweep()
    assert read(database, job_id).status == "cancelled"


def test_what_waits_for_a_failed_job_fails_with_class_data(
    database: Database, project_id: str, job_id: str
) -> None:
    with database.transaction() as session:
        waiting = add_job(session, project_id, depends_on=job_id)
        behind = add_job(session, project_id, depends_on=waiting.id)
    claim = take(database, job_id)
    with database.transaction() as session:
        service.fail(session, claim, JobFailure("data", "line 3"))
    for dependent in (waiting, behind):
        job = read(database, dependent.id)
        assert (job.status, job.error["class"]) == ("failed", "data")


def test_another_projects_job_is_not_found(database: Database, job_id: str) -> None:
    with pytest.raises(NotFound), database.reading() as session:
        service.get(session, "proj_other", job_id)


def test_a_job_that_came_too_late_to_fail_with_what_it_awaits_is_swept(
    database: Database, project_id: str
) -> None:
    with database.transaction() as session:
        awaited = add_job(session, project_id, status="cancelled")
        waiting = add_job(session, project_id, depends_on=awaited.id)
    sweep()
    job = read(database, waiting.id)
    assert (job.status, job.error["class"]) == ("failed", "data")


def test_one_job_that_cannot_be_mended_does_not_hold_up_its_neighbours(
    database: Database, project_id: str
) -> None:
    with database.transaction() as session:
        # Its type was taken out of the product: quarantining it must break.
        odd = add_job(session, project_id, type="gone", status="running", barren_attempts=2)
        good = add_job(session, project_id, status="running", token=1)
    assert sweep() == 1
    assert read(database, good.id).status == "queued"
    assert read(database, odd.id).status == "running"


@pytest.mark.parametrize("end", ["requeue", "lost_runner"])
def test_a_wish_to_cancel_is_kept_when_the_attempt_ends_otherwise(
    database: Database, project_id: str, job_id: str, end: str
) -> None:
    claim = take(database, job_id)
    with database.transaction() as session:
        service.request_cancel(session, project_id, job_id)
        if end == "requeue":
            service.requeue(session, claim, outcome="drained", message="x")
        else:
            service.lost_runner(session, claim, "x")
    assert read(database, job_id).status == "cancelled"
    with database.reading() as session:
        assert [attempt.outcome for attempt in records.attempts(session, job_id)] == ["cancelled"]


def test_a_number_that_is_none_is_stored_as_null(database: Database, job_id: str) -> None:
    claim = take(database, job_id)
    report = Report(metrics={1: {"gradient_norm": float("inf"), "loss": float("nan")}})
    report.progress = {"step": 1, "parts": [float("-inf"), 2.0]}
    with database.transaction() as session:
        records.write_report(session, claim, report, log_seq=0)
    assert read(database, job_id).progress == {"step": 1, "parts": [None, 2.0]}


def test_the_end_of_a_long_log_is_kept(database: Database, job_id: str) -> None:
    claim = take(database, job_id)
    for seq in range(records.MAX_LOG_CHUNKS + 2):
        with database.transaction() as session:
            records.write_report(session, claim, Report(log=f"<{seq}>"), log_seq=seq)
    with database.reading() as session:
        text = records.job_log(session, job_id)
    assert text.startswith("<2>")
    assert text.endswith(f"<{records.MAX_LOG_CHUNKS + 1}>")


def test_of_logs_longer_than_an_answer_the_newest_is_shown(
    database: Database, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = take(database, job_id)
    for seq in range(30):
        with database.transaction() as session:
            records.write_report(session, claim, Report(log=f"line {seq}\n"), log_seq=seq)

    def shown(most: int, **given: int) -> str:
        monkeypatch.setattr(records, "MOST_LOG", most)
        with database.reading() as session:
            return records.job_log(session, job_id, **given)

    whole = "".join(f"line {seq}\n" for seq in range(30))
    assert shown(len(whole)) == whole
    assert shown(20) == f"{records.CUT}line 28\nline 29\n"
    assert shown(20, token=claim.token + 1) == ""


def test_rows_with_nul_and_lone_surrogates_are_stored_on_both_databases(
    database: Database, job_id: str
) -> None:
    claim = take(database, job_id)
    report = Report(rows={0: {"sql": "a\x00b \ud800 \\u0000 中文"}}, log="x\x00y")
    with database.transaction() as session:
        records.write_report(session, claim, report, log_seq=0)
    with database.reading() as session:
        [(_, data)] = records.done_rows(session, job_id)
        text = records.job_log(session, job_id)
    assert data["sql"] == "a\ufffdb ? \\u0000 中文"
    assert text == "x\ufffdy"


def test_a_repeated_step_or_row_writes_over_the_earlier_one(
    database: Database, job_id: str
) -> None:
    claim = take(database, job_id)
    for value in (1.0, 2.0):
        with database.transaction() as session:
            report = Report(metrics={5: {"loss": value}}, rows={0: {"n": value}})
            records.write_report(session, claim, report, log_seq=0)
    with database.reading() as session:
        assert list(records.done_rows(session, job_id)) == [(0, {"n": 2.0})]
