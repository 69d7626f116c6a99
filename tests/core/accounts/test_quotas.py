"""What a project may have at once is kept, also when two ask at once; no quota is no bound."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from core import queue
from core.accounts.models import Project
from core.accounts.quotas import Usage, require_place_in_queue, require_storage, usage_of
from core.accounts.service import ensure_project
from core.databases.models import TargetDatabase
from core.db import Database
from core.errors import QuotaExceeded
from core.files.models import File
from core.jobs import service
from core.jobs.dispatch import dispatch, places, spare_slots
from core.jobs.models import Job
from tests.core.jobs.jobs import add_job, add_worker


def allow(database: Database, project_id: str, **quotas: int) -> None:
    with database.transaction() as session:
        session.get_one(Project, project_id).quotas = quotas


def add_file(database: Database, project_id: str, size: int) -> None:
    with database.transaction() as session:
        session.add(
            File(
                id=f"file_{size}",
                project_id=project_id,
                purpose="batch",
                filename="f",
                bytes=size,
                sha256="0",
                storage_key="f",
            )
        )


def test_queued_jobs_are_bounded_and_running_ones_dont_count(
    database: Database, project_id: str
) -> None:
    allow(database, project_id, queued_jobs=2)
    with database.transaction() as session:
        add_job(session, project_id, status="running")
        for _ in range(2):
            require_place_in_queue(session, project_id)
            add_job(session, project_id)
        with pytest.raises(QuotaExceeded, match="2 queued jobs"):
            require_place_in_queue(session, project_id)
        other = ensure_project(session, "other").id
        require_place_in_queue(session, other)


def test_two_at_once_dont_both_get_the_last_place(database: Database, project_id: str) -> None:
    allow(database, project_id, queued_jobs=1)
    start = threading.Barrier(4)

    def submit(_: int) -> bool:
        start.wait()
        try:
            with database.transaction() as session:
                require_place_in_queue(session, project_id)
                add_job(session, project_id)
            return True
        except QuotaExceeded:
            return False

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(submit, range(4))) == 1
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 1


def test_stored_bytes_are_bounded_by_what_would_be_there(
    database: Database, project_id: str
) -> None:
    allow(database, project_id, storage_bytes=100)
    add_file(database, project_id, 60)
    with database.transaction() as session:
        require_storage(session, project_id, 40)
        with pytest.raises(QuotaExceeded, match="has 60"):
            require_storage(session, project_id, 41)
        usage = usage_of(session, project_id)
        assert usage == Usage(queued_jobs=0, running_jobs=0, storage_bytes=60)


def test_no_more_of_a_project_is_rung_for_than_may_run(
    database: Database, project_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[str] = []
    monkeypatch.setattr(queue, "ring", lambda job_id, **_: rung.append(job_id) or True)
    allow(database, project_id, running_jobs=2)
    with database.transaction() as session:
        add_worker(session, "gpu0@a", slots=8)
        add_worker(session, "cpu0@a", queue="cpu", slots=8)
        free = ensure_project(session, "free").id
        running = add_job(session, project_id, status="running", queue="cpu")
        ours = [add_job(session, project_id).id for _ in range(3)]
        theirs = [add_job(session, free).id for _ in range(3)]
    dispatch()
    assert sorted(rung) == sorted([ours[0], *theirs]), "one runs already"
    with database.transaction() as session:
        session.delete(session.get_one(Job, running.id))
    dispatch()
    assert rung[4:] == [ours[1]]


def test_what_a_quota_holds_up_takes_no_slot_and_has_no_place(
    database: Database, project_id: str
) -> None:
    allow(database, project_id, running_jobs=2)
    with database.transaction() as session:
        add_worker(session, "gpu0@a", slots=3)
        add_job(session, project_id, status="running")
        first, _ = (add_job(session, project_id).id for _ in range(2))
    with database.reading() as session:
        assert spare_slots(session, "gpu") == 1
        assert places(session, "gpu") == {first: 1}


def test_what_lies_on_a_server_is_not_stored_here(database: Database, project_id: str) -> None:
    allow(database, project_id, storage_bytes=100)
    row = {"project_id": project_id, "schema": {}}
    with database.transaction() as session:
        file = {"dialect": "sqlite", "storage_key": "k", "bytes": 10}
        session.add(TargetDatabase(id="db_1", name="file", **file, **row))
        far = {"dialect": "postgres", "dsn": "postgresql://r:s@db/shop", "bytes": 10**12}
        session.add(TargetDatabase(id="db_2", name="server", **far, **row))
        session.flush()
        assert usage_of(session, project_id).storage_bytes == 10
        require_storage(session, project_id, 90)


def test_a_paused_job_that_is_resumed_needs_a_place_in_the_queue(
    database: Database, project_id: str
) -> None:
    allow(database, project_id, queued_jobs=1)
    with database.transaction() as session:
        held = add_job(session, project_id).id
        service.request_pause(session, project_id, held)
        queued = add_job(session, project_id).id
    with pytest.raises(QuotaExceeded), database.transaction() as session:
        service.resume(session, project_id, held)
    with database.transaction() as session:
        service.request_cancel(session, project_id, queued)
    with database.transaction() as session:
        assert service.resume(session, project_id, held).status == "queued"


def test_what_the_platform_itself_brings_back_needs_no_place(
    database: Database, project_id: str
) -> None:
    allow(database, project_id, queued_jobs=0)
    with database.transaction() as session:
        held = add_job(session, project_id, status="paused")
        assert service.bring_back(session, held).status == "queued"
