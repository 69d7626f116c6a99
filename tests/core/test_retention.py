"""What goes and what stays when the keeper deletes what nobody needs, with every kind of file."""

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import select, update

from core import retention
from core.accounts.service import ensure_project
from core.adapters.service import add_version
from core.artifacts.models import Artifact
from core.basemodels.service import record_base
from core.databases.models import TargetDatabase
from core.datasets.models import Dataset
from core.db import Base, db_now, get_database
from core.files.models import File
from core.fleet import service as fleet
from core.idempotency import service as idempotency
from core.idempotency.models import IdempotencyKey
from core.jobs.models import Checkpoint, Job
from core.jobs.status import JobStatus
from core.jobs.uses import asked_checkpoints
from core.retention import (
    DAY,
    MOST_FILES,
    _drop_checkpoints,
    retain,
    retain_in_background,
    tidy_machine,
)
from core.settings import Settings, get_settings
from core.storage import Found, Storage, get_storage
from core.uploads.models import Upload, UploadPart
from tests.platform import environment, migrate
from tests.servers import S3Server

INSTANT = str(0.5 / DAY)
"""Half a second in days: on S3 nobody can write a file of last week."""


@dataclass
class Place:
    """A platform with one project, and what a test has put into it."""

    project: str
    storage: Storage
    folder: Path
    stays: set[str] = field(default_factory=set)
    goes: set[str] = field(default_factory=set)

    def put(self, key: str, *, goes: bool, fresh: bool = False) -> str:
        source = self.folder / "source"
        source.write_bytes(b"bytes")
        self.storage.put(source, key)
        if self.storage.local and not fresh:
            age(Path(self.storage.root) / key)
        (self.goes if goes else self.stays).add(key)
        return key

    def lying(self) -> set[str]:
        return {found.key for found in self.storage.walk("projects")}

    def add(self, *rows: object) -> None:
        with get_database().transaction() as session:
            for row in rows:
                session.add(row)
                session.flush()

    def job(self, name: str, status: JobStatus, *, ended_days: float | None = None) -> str:
        """A job's row in a state; its key's folder in the storage."""
        with get_database().transaction() as session:
            job = Job(
                id=name,
                project_id=self.project,
                type="train",
                queue="gpu",
                params={},
                time_limit_seconds=60,
                token=2,
                **{"status": status},
            )
            session.add(job)
            session.flush()
            if ended_days is not None:
                ended = db_now() - ended_days * DAY
                session.execute(update(Job).where(Job.id == name).values(finished_at=ended))
        return f"projects/{self.project}/jobs/{name}"

    def checkpoint(self, job: str, key: str, *, step: int = 1) -> None:
        row = {"token": 1, "step": step, "manifest": [], "metrics": {}, "bytes": 5}
        self.add(Checkpoint(id=f"ckpt_{job}_{step}", job_id=job, storage_key=key, **row))


def age(path: Path, days: float = 9) -> None:
    then = time.time() - days * DAY
    os.utime(path, (then, then))


@pytest.fixture(params=["file", "s3", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """On a local disk files are made old; on S3 two days are made short."""
    url = f"sqlite:///{tmp_path / 'tuneyard.db'}"
    settings = {"data_dir": str(tmp_path), "database_url": url, "retain_orphans_days": "2"}
    settings["model_dir"] = str(tmp_path / "models")
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3_storage")
        settings |= {"storage_url": server.new_url(), "retain_orphans_days": INSTANT}
    if request.param == "postgresql":
        url = settings["database_url"] = request.getfixturevalue("postgres_url")
    with environment(**settings):
        migrate(url)
        with get_database().transaction() as session:
            project = ensure_project(session, "default").id
            record_base(
                session,
                {"name": "tiny", "parameters": 1, "architecture": "a", "context_length": 9},
            )
        yield Place(project, get_storage(), tmp_path)


def test_what_a_row_points_to_stays_and_what_is_nobodys_goes(place: Place) -> None:
    home = f"projects/{place.project}"
    keep = place.put(f"{home}/files/blob_kept", goes=False)
    place.put(f"{home}/files/blob_of_a_crashed_upload", goes=True)
    place.put(f"{home}/files/blob_kept.0123.part", goes=True)
    deleted = place.put(f"{home}/files/blob_deleted", goes=True)
    base = place.put(f"{home}/files/blob_database", goes=False)
    blob = {"purpose": "fine-tune", "filename": "f", "bytes": 5, "sha256": "0"}
    common = {"project_id": place.project, **blob}
    place.add(
        File(id="file_1", storage_key=keep, **common),
        File(id="file_2", storage_key=deleted, deleted_at=1.0, **common),
        TargetDatabase(
            id="db_1",
            project_id=place.project,
            name="d",
            dialect="sqlite",
            storage_key=base,
            sha256="0",
            bytes=5,
            schema={},
        ),
    )
    done = place.job("done", JobStatus.SUCCEEDED, ended_days=1)
    place.put(f"{done}/attempt-1/checkpoints/step-1/a", goes=True)  # nobody recorded it
    place.put(f"{done}/attempt-1/out/adapter/weights", goes=True)  # a lost attempt's
    place.put(f"{done}/attempt-2/out/adapter/weights", goes=False)
    place.put(f"{done}/attempt-2/out/report", goes=False)
    place.put(f"{done}/attempt-2/checkpoints/step-9/a", goes=False)
    place.checkpoint("done", f"{done}/attempt-2/checkpoints/step-9", step=9)
    place.add(
        Dataset(
            id="ds_1",
            project_id=place.project,
            name="d",
            status="ready",
            file_id="file_1",
            storage_key=place.put(f"{home}/jobs/p/attempt-1/out/data.arrow", goes=False).rpartition(
                "/"
            )[0],
        ),
        Artifact(
            id="art_1",
            project_id=place.project,
            job_id="done",
            path="report",
            storage_key=f"{done}/attempt-2/out/report",
            bytes=5,
            sha256="0",
        ),
    )
    with get_database().transaction() as session:
        add_version(
            session,
            place.project,
            "sales",
            base_model="tiny",
            dataset_id="ds_1",
            job_id="done",
            storage_key=f"{done}/attempt-2/out/adapter",
            bytes=5,
            settings={},
            metrics={},
        )
    running = place.job("running", JobStatus.RUNNING)
    place.put(f"{running}/attempt-1/checkpoints/step-1/a", goes=True)
    place.put(f"{running}/attempt-2/checkpoints/step-2/a", goes=False)  # about to be recorded
    place.put("projects/proj_of_another_platform/files/blob", goes=False)
    young = None
    if place.storage.local:
        young = place.put(f"{home}/files/blob_on_its_way", goes=False, fresh=True)
    wait_until_old(place)

    done_now = retain()

    assert place.lying() == place.stays
    assert done_now.files == len(place.goes)
    if place.storage.local:
        assert young in place.lying()
        assert not (Path(place.storage.root) / done / "attempt-1").exists(), "an empty folder"
    assert retain().files == 0, "a second run finds nothing"


def test_checkpoints_of_ended_jobs_go_after_their_days_and_never_anothers(place: Place) -> None:
    def with_checkpoint(name: str, status: JobStatus, days: float | None, *, goes: bool) -> str:
        folder = place.job(name, status, ended_days=days)
        key = f"{folder}/attempt-1/checkpoints/step-1"
        place.put(f"{key}/weights", goes=goes)
        place.checkpoint(name, key)
        return key

    with_checkpoint("old_success", JobStatus.SUCCEEDED, 31, goes=True)
    with_checkpoint("old_failure", JobStatus.FAILED, 31, goes=True)
    with_checkpoint("young_failure", JobStatus.FAILED, 29, goes=False)
    with_checkpoint("young_success", JobStatus.SUCCEEDED, 29, goes=False)
    with_checkpoint("paused_for_long", JobStatus.PAUSED, None, goes=False)
    with_checkpoint("queued_for_long", JobStatus.QUEUED, None, goes=False)
    taken = with_checkpoint("old_but_retried", JobStatus.FAILED, 31, goes=False)
    place.job("the_retry", JobStatus.QUEUED)
    place.checkpoint("the_retry", taken)
    wait_until_old(place)

    first = retain()
    assert (first.checkpoints, first.files) == (3, 0), "the rows first"
    assert place.lying() == place.stays | place.goes
    second = retain()
    assert (second.checkpoints, second.files) == (0, 2), "the bytes of those that nobody took"
    assert place.lying() == place.stays


@pytest.mark.parametrize("place", ["file"], indirect=True)
def test_one_run_deletes_no_more_than_its_bound_and_the_next_goes_on(place: Place) -> None:
    folder = Path(place.storage.root) / f"projects/{place.project}/files"
    folder.mkdir(parents=True)
    for number in range(MOST_FILES + 5):
        (folder / f"blob_{number}").touch()
        age(folder / f"blob_{number}")
    assert retain().files == MOST_FILES
    assert retain().files == 5


def test_a_platform_on_the_wrong_database_deletes_nothing(place: Place) -> None:
    place.put("projects/proj_somebody/files/blob", goes=False)
    place.put("projects/proj_somebody/jobs/job_1/attempt-1/out/model", goes=False)
    wait_until_old(place)
    assert retain().files == 0
    assert place.lying() == place.stays


def test_expired_idempotency_keys_go(place: Place) -> None:
    with get_database().transaction() as session:
        for key in ("old", "young"):
            idempotency.record(session, place.project, key, "0", status=200, body="{}")
        old = update(IdempotencyKey).where(IdempotencyKey.key == "old")
        session.execute(old.values(created_at=db_now() - idempotency.KEEP_SECONDS - 1))
    assert retain().keys == 1
    with get_database().reading() as session:
        assert session.scalars(select(IdempotencyKey.key)).all() == ["young"]


def test_what_dead_processes_left_on_this_machine_goes_and_live_work_stays(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'tuneyard.db'}"
    models = tmp_path / "models"
    with environment(data_dir=str(tmp_path), database_url=url, model_dir=str(models)) as settings:
        migrate(url)
        with get_database().transaction() as session:
            fleet.register(session, fleet.Node("gpu0@here", "gpu", "cpu", 1, 1, [], {}))
        goes = [
            left(settings, "uploads/tmp_dead"),
            left(settings, "cache/ds_unread/train.arrow").parent,
            left(settings, "scratch/query"),
            left(settings, "work/gpu7@gone/job_1-1/runner.log").parent.parent,
            left(settings, "models/.staging-tiny-1/model.gguf").parent,
        ]
        stays = [
            left(settings, "uploads/tmp_coming", days=0),
            left(settings, "cache/ds_read/train.arrow", days=1),
            left(settings, "work/gpu0@here/job_2-1/runner.log"),  # its worker lives
            left(settings, "work/gpu8@gone/job_3-1/runner.log", days=0),
            left(settings, "models/tiny/model.safetensors"),
            left(settings, "logs/api.log"),
        ]
        assert tidy_machine() == len(goes)
        assert [path for path in goes if path.exists()] == []
        assert [path for path in stays if not path.exists()] == []


def test_without_the_database_nothing_is_tidied(tmp_path: Path) -> None:
    url = "postgresql://nobody@127.0.0.1:1/none"
    with environment(data_dir=str(tmp_path), database_url=url) as settings:
        path = left(settings, "work/gpu7@gone/job_1-1/runner.log")
        assert tidy_machine() == 0
        assert path.exists()


def test_a_storage_that_hangs_holds_up_no_sweep_and_is_asked_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()

    def walk(storage: Storage, key: str) -> Iterator[Found]:
        answers.wait(60)
        return iter(())

    monkeypatch.setattr(Storage, "walk", walk)
    try:
        assert retain_in_background() == "started"
        assert retain_in_background() == "the last run is not done yet"
        with get_database().reading() as session:
            assert "retain" not in fleet.keeper_lags(session)
    finally:
        answers.set()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:  # it notes itself when it is done
        with get_database().reading() as session:
            if "retain" in fleet.keeper_lags(session):
                return
        time.sleep(0.05)
    raise AssertionError("it never ended")


def left(settings: Settings, name: str, *, days: float = 9) -> Path:
    path = settings.data_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"left")
    for one in (path, path.parent, path.parent.parent):
        if days and one != settings.data_dir:
            age(one, days)
    return path


def wait_until_old(place: Place) -> None:
    if not place.storage.local:
        time.sleep(2.1)  # S3 tells whole seconds


def test_a_file_past_its_time_goes_unless_a_job_needs_it(place: Place) -> None:
    home = f"projects/{place.project}/files"
    common = {"project_id": place.project, "purpose": "batch", "filename": "a", "bytes": 5}
    with get_database().reading() as session:
        now = session.scalar(select(db_now()))
    for name, expires, goes in (
        ("file_over", now - 1, True),
        ("file_needed", now - 1, False),
        ("file_young", now + 3600, False),
        ("file_forever", None, False),
    ):
        key = place.put(f"{home}/{name}", goes=goes)
        row = {"id": name, "storage_key": key, "expires_at": expires, "sha256": "0"}
        place.add(File(**row, **common))
    place.job("job_needs", JobStatus.PAUSED)
    needs = update(Job).where(Job.id == "job_needs").values(params={"file": "file_needed"})
    with get_database().transaction() as session:
        session.execute(needs)
    assert retain().expired == 1
    assert place.lying() == place.stays
    with get_database().transaction() as session:
        session.execute(update(Job).where(Job.id == "job_needs").values(params={}))
    assert retain().expired == 1


def test_parts_of_an_upload_past_its_hour_go_and_those_of_a_crash_too(place: Place) -> None:
    home = f"projects/{place.project}/uploads"
    with get_database().reading() as session:
        now = session.scalar(select(db_now()))
    common = {"project_id": place.project, "filename": "a", "purpose": "batch", "bytes": 5}
    for name, expires in (("upload_over", now - 1), ("upload_pending", now + 3600)):
        key = place.put(f"{home}/{name}/blob_1", goes=expires < now)
        row = {"id": name, "mime_type": "x", "status": "pending", "expires_at": expires}
        part = UploadPart(id=f"part_{name}", upload_id=name, storage_key=key, bytes=5)
        place.add(Upload(**row, **common), part)
    place.put(f"{home}/upload_pending/blob_of_a_crash", goes=True)
    wait_until_old(place)
    assert retain().expired == 1
    assert place.lying() == place.stays


def test_a_checkpoint_that_a_job_asks_stays(place: Place) -> None:
    home = place.job("job_old", JobStatus.SUCCEEDED, ended_days=31)
    for step in (1, 2):
        key = place.put(f"{home}/attempt-1/checkpoints/step-{step}/state.pt", goes=step == 1)
        place.checkpoint("job_old", key, step=step)
    place.job("job_asks", JobStatus.QUEUED)
    model = {"model": "ft:tiny:default:sql:job_old:ckpt-step-2"}
    with get_database().transaction() as session:
        session.execute(update(Job).where(Job.id == "job_asks").values(params=model))
    wait_until_old(place)
    assert retain().checkpoints == 1
    retain()
    assert place.lying() == place.stays


def test_a_checkpoint_stays_whose_job_is_submitted_in_this_moment(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = place.job("job_old", JobStatus.SUCCEEDED, ended_days=31)
    place.checkpoint("job_old", f"{home}/attempt-1/checkpoints/step-1")
    place.job("job_asks", JobStatus.PAUSED)
    looked = threading.Event()

    def note(session):
        found = asked_checkpoints(session)
        looked.set()
        return found

    monkeypatch.setattr(retention, "asked_checkpoints", note)
    dropped: list[int] = []

    def drop() -> None:
        with get_database().transaction() as session:
            dropped.append(_drop_checkpoints(session, get_settings()))

    dropping = threading.Thread(target=drop)
    with get_database().transaction() as session:
        session.get_one(Checkpoint, "ckpt_job_old_1", with_for_update={"read": True})
        dropping.start()
        looked.wait(1)
        model = {"model": "ft:tiny:default:sql:job_old:ckpt-step-1"}
        session.execute(update(Job).where(Job.id == "job_asks").values(params=model))
    dropping.join(30)
    assert dropped == [0]


def test_every_row_that_points_to_a_file_is_found_by_an_index() -> None:
    """For each file that lies about, each of these tables is asked."""
    pointing = [one for one in Base.metadata.tables.values() if "storage_key" in one.c]
    assert len(pointing) >= 8
    for table in pointing:
        assert any([*index.columns][0] is table.c.storage_key for index in table.indexes), table
