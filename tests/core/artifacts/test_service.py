import pytest

from core.artifacts import service
from core.db import Database
from core.errors import NotFound
from core.storage import StoredFile
from tests.core.jobs.jobs import add_job

FILES = [StoredFile("b/weights", 7, "b" * 64), StoredFile("a.json", 3, "a" * 64)]


def record(database: Database, project_id: str) -> str:
    with database.transaction() as session:
        job = add_job(session, project_id)
        service.record_files(session, project_id, job.id, "jobs/1/out", FILES)
        return job.id


def test_each_file_is_a_row_with_its_key_size_and_hash(database: Database, project_id: str) -> None:
    job_id = record(database, project_id)
    with database.reading() as session:
        rows = service.of_job(session, job_id)
    assert [(row.path, row.bytes) for row in rows] == [("a.json", 3), ("b/weights", 7)]
    assert rows[1].storage_key == "jobs/1/out/b/weights"
    assert rows[1].sha256 == "b" * 64


def test_an_artifact_of_another_project_is_not_there(database: Database, project_id: str) -> None:
    job_id = record(database, project_id)
    with database.reading() as session:
        [first, _] = service.of_job(session, job_id)
        assert service.get(session, project_id, first.id).path == "a.json"
        with pytest.raises(NotFound, match=first.id):
            service.get(session, "proj_other", first.id)
