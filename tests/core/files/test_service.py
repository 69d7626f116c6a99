"""Stored files: their bytes and rows come and go together, and stay for the jobs that need them."""

import threading
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from core.artifacts.models import Artifact
from core.artifacts.service import of_job
from core.db import Database
from core.errors import NotFound, WrongState
from core.files import service
from core.files.models import File
from core.ids import new_id
from core.storage import StoredFile, get_storage, hash_file
from tests.core.jobs.jobs import add_job


def uploaded(folder: Path, text: str = "hello") -> Path:
    path = folder / "upload"
    path.write_text(text, encoding="utf-8")
    return path


def keep(database: Database, project_id: str, path: Path) -> tuple[str, str]:
    stored = StoredFile("upload", path.stat().st_size, hash_file(path))
    with (
        service.stored_upload(project_id, path) as key,
        database.transaction() as session,
    ):
        file = service.create(
            session,
            project_id,
            filename="问题.jsonl",
            purpose="batch",
            stored=stored,
            storage_key=key,
        )
        return file.id, key


def test_an_upload_is_kept_under_a_key_of_its_project(
    database: Database, project_id: str, tmp_path: Path
) -> None:
    file_id, key = keep(database, project_id, uploaded(tmp_path))
    assert key.startswith(f"projects/{project_id}/files/")
    assert get_storage().open(key).read() == b"hello"
    with database.reading() as session:
        assert service.get(session, project_id, file_id).filename == "问题.jsonl"


def test_bytes_whose_row_can_not_be_written_are_deleted_again(
    database: Database, project_id: str, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError), service.stored_upload(project_id, uploaded(tmp_path)) as key:
        raise RuntimeError("the row was refused")
    with pytest.raises(NotFound):
        get_storage().open(key)


def test_bytes_stay_where_a_commit_may_have_been_made_whose_answer_was_lost(
    database: Database, project_id: str, tmp_path: Path
) -> None:
    lost = OperationalError("COMMIT", {}, Exception("the connection broke"))
    with (
        pytest.raises(OperationalError),
        service.stored_upload(project_id, uploaded(tmp_path)) as key,
    ):
        raise lost
    assert get_storage().open(key).read() == b"hello"


def test_dropped_bytes_are_gone_after_the_commit_and_the_row_stays(
    database: Database, project_id: str, tmp_path: Path
) -> None:
    file_id, key = keep(database, project_id, uploaded(tmp_path))
    with database.transaction() as session:
        service.drop_bytes(session, file_id)
        assert get_storage().open(key).read() == b"hello", "not before the commit"
    with pytest.raises(NotFound):
        get_storage().open(key)
    with database.reading() as session:
        assert session.get_one(File, file_id).deleted_at is not None
        with pytest.raises(NotFound, match="was deleted"):
            service.get(session, project_id, file_id)


def test_a_file_of_another_project_is_not_there(
    database: Database, project_id: str, tmp_path: Path
) -> None:
    file_id, _ = keep(database, project_id, uploaded(tmp_path))
    with database.reading() as session, pytest.raises(NotFound, match=file_id):
        service.get(session, "proj_other", file_id)


@pytest.mark.parametrize("status", ["queued", "running", "paused"])
def test_a_file_is_kept_for_a_job_that_has_not_ended(
    database: Database, project_id: str, tmp_path: Path, status: str
) -> None:
    file_id, key = keep(database, project_id, uploaded(tmp_path))
    with database.transaction() as session:
        job = add_job(session, project_id, type="generate", status=status, params={"any": file_id})
    with pytest.raises(WrongState, match=job.id), database.transaction() as session:
        service.delete(session, project_id, file_id)
    assert get_storage().open(key).read() == b"hello"


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
def test_a_file_is_not_kept_for_a_job_that_has_ended(
    database: Database, project_id: str, tmp_path: Path, status: str
) -> None:
    file_id, key = keep(database, project_id, uploaded(tmp_path))
    with database.transaction() as session:
        add_job(session, project_id, type="generate", status=status, params={"file": file_id})
        add_job(session, project_id, type="generate", params={"file": f"{file_id}x"})
    with database.transaction() as session:
        service.delete(session, project_id, file_id)
    with pytest.raises(NotFound):
        get_storage().open(key)


def test_a_file_can_not_be_deleted_while_a_submit_holds_it(
    database: Database, project_id: str, tmp_path: Path
) -> None:
    file_id, _ = keep(database, project_id, uploaded(tmp_path))
    outcome: list[Exception] = []

    def delete() -> None:
        try:
            with database.transaction() as session:
                service.delete(session, project_id, file_id)
        except WrongState as error:
            outcome.append(error)

    deleter = threading.Thread(target=delete)
    with database.transaction() as session:
        service.get(session, project_id, file_id, hold=True)
        deleter.start()
        add_job(session, project_id, params={"file": file_id})
    deleter.join(timeout=30)
    assert len(outcome) == 1, "it waited, and then saw the job"


def test_a_file_of_a_job_takes_its_artifact_with_it(
    database: Database, project_id: str, tmp_path: Path
) -> None:
    file_id, key = keep(database, project_id, uploaded(tmp_path))
    with database.transaction() as session:
        job = add_job(session, project_id)
        paths = {"mine": key, "other": f"{key}2"}
        for path, storage_key in paths.items():
            row = StoredFile(path, 5, "0")
            session.add(artifact(project_id, job.id, row, storage_key))
    with database.transaction() as session:
        service.delete(session, project_id, file_id)
    with database.reading() as session:
        assert [row.path for row in of_job(session, job.id)] == ["other"]


def artifact(project_id: str, job_id: str, file: StoredFile, key: str) -> Artifact:
    mine = {"project_id": project_id, "job_id": job_id, "storage_key": key}
    return Artifact(id=new_id("art"), **mine, **file.to_dict())
