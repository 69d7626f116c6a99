from pathlib import Path

import pytest

from core.db import Database
from core.errors import NotFound
from core.files import service
from core.storage import StoredFile, get_storage, hash_file


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
        assert service.get(session, project_id, file_id).deleted_at is not None


def test_a_file_of_another_project_is_not_there(
    database: Database, project_id: str, tmp_path: Path
) -> None:
    file_id, _ = keep(database, project_id, uploaded(tmp_path))
    with database.reading() as session, pytest.raises(NotFound, match=file_id):
        service.get(session, "proj_other", file_id)
