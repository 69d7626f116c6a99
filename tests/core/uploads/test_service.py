"""Uploads in parts below HTTP: what two do at once, and what a crash or the clock leaves behind."""

from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from core.db import Database, db_now
from core.errors import WrongState
from core.storage import get_storage
from core.uploads import service
from core.uploads.models import Upload, UploadPart


@pytest.fixture
def upload_id(database: Database, project_id: str) -> str:
    with database.transaction() as session:
        upload = service.create(
            session,
            project_id,
            filename="a.bin",
            purpose="user_data",
            mime_type="application/octet-stream",
            bytes=10,
        )
    return upload.id


def add(database: Database, project_id: str, upload_id: str, folder: Path) -> str:
    path = folder / "part"
    path.write_bytes(b"hello")
    with (
        service.stored_part(project_id, upload_id, path) as key,
        database.transaction() as session,
    ):
        return service.add_part(session, project_id, upload_id, storage_key=key, bytes=5).id


def lying() -> list[str]:
    return [found.key for found in get_storage().walk("projects")]


def expire(database: Database, upload_id: str) -> None:
    with database.transaction() as session:
        session.execute(update(Upload).where(Upload.id == upload_id).values(expires_at=db_now()))


def test_a_part_whose_upload_is_cancelled_while_it_comes_leaves_nothing(
    database: Database, project_id: str, upload_id: str, tmp_path: Path
) -> None:
    add(database, project_id, upload_id, tmp_path)
    path = tmp_path / "late"
    path.write_bytes(b"hello")
    with (
        pytest.raises(WrongState, match="cancelled"),
        service.stored_part(project_id, upload_id, path) as key,
    ):
        with database.transaction() as session:
            service.cancel(session, project_id, upload_id)
        with database.transaction() as session:
            service.add_part(session, project_id, upload_id, storage_key=key, bytes=5)
    assert lying() == []


def test_the_content_is_that_of_the_parts_in_order(
    database: Database, project_id: str, upload_id: str, tmp_path: Path
) -> None:
    ids = [add(database, project_id, upload_id, tmp_path) for _ in range(2)]
    with database.transaction() as session:
        upload = service.hold_pending(session, project_id, upload_id)
        parts = service.chosen_parts(session, upload, ids[::-1])
    assert [part.id for part in parts] == ids[::-1]
    assert b"".join(service.content(parts)) == b"hellohello"


def test_the_parts_of_an_upload_whose_hour_is_over_are_taken_away(
    database: Database, project_id: str, upload_id: str, tmp_path: Path
) -> None:
    add(database, project_id, upload_id, tmp_path)
    with database.transaction() as session:
        assert service.drop_expired(session, most=10) == 0
    expire(database, upload_id)
    for dropped in (1, 0):
        with database.transaction() as session:
            assert service.drop_expired(session, most=10) == dropped
    assert lying() == []
    with database.reading() as session:
        upload = service.get(session, project_id, upload_id)
        assert service.status_of(session, upload) == "expired"
        assert session.scalar(select(func.count()).select_from(UploadPart)) == 0
