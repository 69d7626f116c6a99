"""What one training learned of a device's memory stands in the next one's briefing."""

import pytest

from core.db import Database
from core.jobs import service
from core.jobs.claims import LostClaim
from core.jobs.lessons import memory_ceiling, note_memory
from core.jobs.models import Job
from tests.core.jobs.jobs import add_job, add_worker

LESSON = {"tokens": 900, "labels": 400, "need_bytes": 10**9, "fitted": False, "peak_bytes": 0}


def claimed(session, project_id: str, worker: str, **params: object):
    job = add_job(session, project_id, type="train")
    job.params = {"model": "tiny", "quantization": None, **params}
    session.flush()
    return service.claim(session, job.id, worker)


def test_the_next_training_on_such_a_device_is_told(database: Database, project_id: str) -> None:
    with database.transaction() as session:
        add_worker(session, "gpu0@a")
        add_worker(session, "gpu0@b")
        first = claimed(session, project_id, "gpu0@a")
        note_memory(session, first, LESSON)
        second = claimed(session, project_id, "gpu0@b", quantization="8bit")
        assert memory_ceiling(session, session.get_one(Job, second.job_id)) == 10**9
        other = claimed(session, project_id, "gpu0@b", quantization="none")
        assert memory_ceiling(session, session.get_one(Job, other.job_id)) is None


def test_an_attempt_that_lost_its_claim_teaches_nothing(
    database: Database, project_id: str
) -> None:
    with database.transaction() as session:
        add_worker(session, "gpu0@a")
        held = claimed(session, project_id, "gpu0@a")
        service.requeue(session, held, outcome="drained", message="x")
    with pytest.raises(LostClaim), database.transaction() as session:
        note_memory(session, held, LESSON)
    with database.transaction() as session:
        again = service.claim(session, held.job_id, "gpu0@a")
        assert memory_ceiling(session, session.get_one(Job, again.job_id)) is None
