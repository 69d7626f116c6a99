"""What a running job leaves behind, on both databases."""

from core.db import Database
from core.jobs import records, service
from core.jobs.models import Attempt, Metric
from core.jobs.records import Report
from tests.core.jobs.jobs import add_job


def test_a_report_of_very_many_rows_is_written_whole(database: Database, project_id: str) -> None:
    """SQLite takes 32,766 values in one statement."""
    count = 12_000
    with database.transaction() as session:
        job_id = add_job(session, project_id).id
        claim = service.claim(session, job_id, "gpu0@test")
        report = Report(rows={row: {"n": row} for row in range(count)})
        records.write_report(session, claim, report, log_seq=0)
    with database.reading() as session:
        assert [row for row, _ in records.done_rows(session, job_id)] == list(range(count))


def test_a_step_told_of_in_two_reports_keeps_both_its_losses(
    database: Database, project_id: str
) -> None:
    with database.transaction() as session:
        job_id = add_job(session, project_id).id
        claim = service.claim(session, job_id, "gpu0@test")
    for numbers in ({"loss": 2.0}, {"validation_loss": 3.0}):
        with database.transaction() as session:
            records.write_report(session, claim, Report(metrics={20: numbers}), log_seq=0)
    with database.reading() as session:
        point = session.get_one(Metric, (job_id, 20))
    assert point.values == {"loss": 2.0, "validation_loss": 3.0}


def test_a_later_attempt_that_repeats_a_step_writes_over_all_of_it(
    database: Database, project_id: str
) -> None:
    with database.transaction() as session:
        job_id = add_job(session, project_id).id
        first = service.claim(session, job_id, "gpu0@test")
        report = Report(metrics={20: {"loss": 2.0, "validation_loss": 3.0}})
        records.write_report(session, first, report, log_seq=0)
        service.requeue(session, first, outcome="drained", message="told to go")
        second = service.claim(session, job_id, "gpu0@test")
        records.write_report(session, second, Report(metrics={20: {"loss": 2.5}}), log_seq=0)
    with database.reading() as session:
        point = session.get_one(Metric, (job_id, 20))
    assert (point.values, point.token) == ({"loss": 2.5}, second.token)


def test_a_checkpoint_that_another_job_asks_outlives_those_that_are_kept(
    database: Database, project_id: str
) -> None:
    with database.transaction() as session:
        job_id = add_job(session, project_id, type="train").id
        claim = service.claim(session, job_id, "gpu0@test")
        for step in range(1, 6):
            key = f"step-{step}"
            records.add_checkpoint(
                session, claim, step=step, storage_key=key, manifest=[], metrics={}
            )
        asked = {"model": f"ft:tiny:default:sql:{job_id}:ckpt-step-2"}
        add_job(session, project_id, type="evaluate", params=asked)
        # Of those without a validation loss the newest counts as the best.
        dropped = records.drop_old_checkpoints(session, claim, keep=2)
    assert sorted(dropped) == ["step-1", "step-3"]


def test_a_checkpoint_whose_commit_was_answered_too_late_is_recorded_once(
    database: Database, project_id: str
) -> None:
    with database.transaction() as session:
        claim = service.claim(session, add_job(session, project_id, type="train").id, "gpu0@test")
    for _ in range(2):
        with database.transaction() as session:
            records.add_checkpoint(
                session, claim, step=1, storage_key="step-1", manifest=[], metrics={}
            )
    with database.reading() as session:
        assert len(records.usable_checkpoints(session, claim.job_id)) == 1
        assert session.get_one(Attempt, (claim.job_id, claim.token)).checkpoints == 1


def test_the_best_checkpoint_is_kept_also_with_a_loss_of_zero(
    database: Database, project_id: str
) -> None:
    with database.transaction() as session:
        claim = service.claim(session, add_job(session, project_id, type="train").id, "gpu0@test")
        for step, loss in enumerate((0.5, 0.0, 0.25, 0.75)):
            metrics = {"validation_loss": loss}
            records.add_checkpoint(
                session, claim, step=step, storage_key=f"{step}", manifest=[], metrics=metrics
            )
        assert records.drop_old_checkpoints(session, claim, keep=1) == ["2", "0"]
