"""What a job needs stays from its submit on, also when both are at it in one moment."""

import threading

import pytest

from core.db import Database
from core.jobs import records, service, sweep
from core.jobs.uses import asked_checkpoints, job_with_file, named_models
from tests.core.jobs.jobs import add_job
from tests.core.plans import plans


def test_a_checkpoint_that_a_submit_holds_is_not_dropped(
    database: Database, project_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = threading.Event()

    def note(session):
        found = asked_checkpoints(session)
        looked.set()
        return found

    monkeypatch.setattr(records, "asked_checkpoints", note)
    with database.transaction() as session:
        claim = service.claim(session, add_job(session, project_id, type="train").id, "gpu0@a")
        for step in (1, 2, 3):
            records.add_checkpoint(
                session, claim, step=step, storage_key=f"step-{step}", manifest=[], metrics={}
            )
    dropped: list[str] = []

    def drop() -> None:
        with database.transaction() as session:
            dropped.extend(records.drop_old_checkpoints(session, claim, keep=1))

    dropping = threading.Thread(target=drop)
    with database.transaction() as session:
        held = records.usable_checkpoints(session, claim.job_id)[-1]
        session.refresh(held, with_for_update={"read": True})  # as `hold_model` does
        dropping.start()
        looked.wait(1)
        asked = {"model": f"ft:tiny:default:sql:{claim.job_id}:ckpt-step-1"}
        add_job(session, project_id, type="evaluate", params=asked)
    dropping.join(30)
    with database.reading() as session:
        steps = [one.step for one in records.usable_checkpoints(session, claim.job_id)]
    assert (steps, dropped) == ([3, 1], ["step-2"])


def test_jobs_that_have_not_ended_are_found_among_all_that_have(
    database: Database, project_id: str
) -> None:
    with database.reading() as session:
        found = plans(
            session,
            lambda session: (
                job_with_file(session, project_id, "file_1"),
                named_models(session, project_id),
                asked_checkpoints(session),
                session.scalars(sweep._expired()).all(),
            ),
        )
    assert len(found) == 7
    indexes = ("ix_jobs_status_queue", "project_status", "ix_jobs_unfinished_batches")
    for one in found:
        assert any(index in one for index in indexes), one
