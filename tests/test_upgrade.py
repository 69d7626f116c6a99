"""An upgrade from the first schema to the newest while the platform works: nothing is lost.

What the version before sends is sent here by SQL over the tables as they were at 0001: jobs are
submitted, claimed and finished by several writers from before the upgrade until after it.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, MetaData, func, insert, select, update
from sqlalchemy.exc import OperationalError

from core.accounts.service import ensure_project
from core.db import db_now, get_database, make_engine
from core.jobs import service
from core.jobs.models import Attempt, Job, JobEvent
from tests.platform import ROOT, environment, migrate

WRITERS = 3


class OldVersion:
    """A process of the version at 0001: it knows the columns of then and no others."""

    def __init__(self, url: str, name: str) -> None:
        self.name = name
        self.accepted: list[str] = []
        self.faults: list[Exception] = []
        self.longest = 0.0
        self._engine = make_engine(url)
        self._tables = _tables_of(self._engine)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._engine.dispose()

    def _work(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            job_id = f"job_{self.name}_{number:05}"
            begun = time.monotonic()
            try:
                self._submit(job_id)
                self.accepted.append(job_id)  # from here on a client has a 202
                if number % 2:
                    self._run(job_id)
            except OperationalError as error:
                self.faults.append(error)  # a 503, or a supervisor that tries again
            except Exception as error:  # noqa: BLE001 - told by the test
                self.faults.append(error)
                return
            self.longest = max(self.longest, time.monotonic() - begun)
            time.sleep(0.01)

    def _submit(self, job_id: str) -> None:
        jobs, events = self._tables["jobs"], self._tables["job_events"]
        with self._engine.begin() as connection:
            connection.execute(
                insert(jobs).values(
                    id=job_id,
                    project_id="proj",
                    type="merge",
                    queue="gpu",
                    status="queued",
                    params={},
                    priority=0,
                    time_limit_seconds=60,
                    token=0,
                    barren_attempts=0,
                    ring=0,
                    created_at=db_now(),
                )
            )
            connection.execute(
                insert(events).values(
                    job_id=job_id, level="info", message="queued", data={}, created_at=db_now()
                )
            )

    def _run(self, job_id: str) -> None:
        """Claim it and record its end, as a worker of that version does."""
        jobs, attempts = self._tables["jobs"], self._tables["attempts"]
        with self._engine.begin() as connection:
            connection.execute(
                update(jobs).where(jobs.c.id == job_id).values(status="running", token=1)
            )
            connection.execute(
                insert(attempts).values(
                    job_id=job_id, token=1, worker_id=self.name, started_at=db_now()
                )
            )
        with self._engine.begin() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(status="succeeded"))


def _tables_of(engine: Engine) -> dict:
    metadata = MetaData()
    metadata.reflect(engine)
    return metadata.tables


def upgrade(url: str, folder: Path) -> subprocess.Popen:
    """`alembic upgrade head`, as the operations page says it."""
    return subprocess.Popen(
        [sys.executable, "-m", "alembic", "-c", "migrations/alembic.ini", "upgrade", "head"],
        env=os.environ | {"TUNEYARD_DATABASE_URL": url, "TUNEYARD_DATA_DIR": str(folder)},
        cwd=ROOT,
        stdout=(folder / "upgrade.log").open("w"),
        stderr=subprocess.STDOUT,
    )


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    url = f"sqlite:///{tmp_path / 'tuneyard.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    with environment(data_dir=str(tmp_path), database_url=url):
        migrate(url, "0001")
        engine = make_engine(url)
        tables = _tables_of(engine)
        with engine.begin() as connection:
            connection.execute(
                insert(tables["projects"]).values(id="proj", name="default", created_at=0.0)
            )
        engine.dispose()
        yield url


def test_jobs_submitted_during_an_upgrade_are_all_there_after_it(url: str, tmp_path: Path) -> None:
    old = [OldVersion(url, f"writer{number}") for number in range(WRITERS)]
    for writer in old:
        writer.start()
    try:
        wait_for(lambda: all(len(writer.accepted) > 5 for writer in old))
        process = upgrade(url, tmp_path)
        assert process.wait(timeout=200) == 0, (tmp_path / "upgrade.log").read_text()
        reached = [len(writer.accepted) for writer in old]
        wait_for(lambda: all(len(w.accepted) > n + 5 for w, n in zip(old, reached, strict=True)))
    finally:
        for writer in old:
            writer.stop()
    assert [fault for writer in old for fault in writer.faults] == [], "the old version works on"
    accepted = {job_id for writer in old for job_id in writer.accepted}
    with get_database().reading() as session:
        assert set(session.scalars(select(Job.id))) == accepted
        assert session.scalar(select(func.count()).select_from(JobEvent)) == len(accepted)
        done = set(session.scalars(select(Job.id).where(Job.status == "succeeded")))
        assert set(session.scalars(select(Attempt.job_id))) == done
        queued = session.scalars(select(Job.id).where(Job.status == "queued")).all()
    with get_database().transaction() as session:  # and the new version takes over
        assert service.claim(session, queued[0], "gpu0@new") is not None
        assert ensure_project(session, "default").id == "proj"


# On SQLite every writer waits for every other anyhow: that is in the test before.
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_long_transaction_delays_an_upgrade_and_hangs_nobody(url: str, tmp_path: Path) -> None:
    held = make_engine(url)
    old = OldVersion(url, "writer")
    with held.connect() as connection:
        connection.execute(select(_tables_of(held)["jobs"].c.id)).all()  # and stays open
        process = upgrade(url, tmp_path)
        wait_for(lambda: "waiting" in (tmp_path / "upgrade.log").read_text())
        old.start()
        time.sleep(12)
        assert process.poll() is None
        assert len(old.accepted) > 5, "who comes behind the upgrade is let go"
        connection.rollback()
    try:
        assert process.wait(timeout=200) == 0, (tmp_path / "upgrade.log").read_text()
    finally:
        old.stop()
        held.dispose()
    assert old.faults == []
    with get_database().reading() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == len(old.accepted)


def wait_for(condition, *, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
