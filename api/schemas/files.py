"""OpenAI's file and upload objects."""

from typing import Literal

from pydantic import Field

from api.schemas.common import Body, Shape
from core.files.models import File
from core.uploads.models import Upload, UploadPart


class ExpiresAfter(Body):
    """When a file goes by itself: between an hour and 30 days after it was made."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=3600, le=2_592_000)


class FileShape(Shape):
    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["uploaded", "processed", "error"] = "processed"
    status_details: str | None = None


class DeletedShape(Shape):
    id: str
    object: str
    deleted: Literal[True] = True


class UploadBody(Body):
    filename: str = Field(min_length=1, max_length=255, pattern=r"^[^/\\\x00]+$")
    purpose: str
    bytes: int = Field(ge=1, lt=2**53)
    mime_type: str = Field(max_length=255)
    expires_after: ExpiresAfter | None = None


class CompleteBody(Body):
    part_ids: list[str] = Field(min_length=1, max_length=10_000)
    md5: str | None = Field(None, pattern="^[0-9a-fA-F]{32}$")


class UploadShape(Shape):
    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["pending", "completed", "cancelled", "expired"]
    file: FileShape | None = None


class PartShape(Shape):
    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str


def file_shape(row: File) -> FileShape:
    return FileShape(
        id=row.id,
        bytes=row.bytes,
        created_at=int(row.created_at),
        expires_at=None if row.expires_at is None else int(row.expires_at),
        filename=row.filename,
        purpose=row.purpose,
    )


def upload_shape(row: Upload, status: str, file: File | None = None) -> UploadShape:
    return UploadShape(
        id=row.id,
        bytes=row.bytes,
        created_at=int(row.created_at),
        expires_at=int(row.expires_at),
        filename=row.filename,
        purpose=row.purpose,
        status=status,
        file=None if file is None else file_shape(file),
    )


def part_shape(row: UploadPart) -> PartShape:
    return PartShape(id=row.id, created_at=int(row.created_at), upload_id=row.upload_id)
