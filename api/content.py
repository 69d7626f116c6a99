"""The bytes of a stored file as an answer, piece by piece. Knows no resource."""

from typing import Any
from urllib.parse import quote

from fastapi.responses import StreamingResponse

from core.storage import get_storage

CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The bytes.", "content": {"application/octet-stream": {}}}
}
"""How the document shows such an answer."""


def stored_content(storage_key: str, *, filename: str, size: int, sha256: str) -> StreamingResponse:
    """`etag` is the sha256. What is not in the storage any more is an error before the first
    byte."""
    headers = {
        "content-length": str(size),
        "etag": f'"{sha256}"',
        "content-disposition": f"attachment; filename*=utf-8''{quote(filename)}",
    }
    pieces = get_storage().chunks(storage_key)
    return StreamingResponse(pieces, media_type="application/octet-stream", headers=headers)
