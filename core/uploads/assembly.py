"""An upload's parts become one file on this machine, looked at on the way. Knows no table."""

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import InvalidInput
from core.files.purposes import Guard
from core.settings import get_settings
from core.storage import StoredFile


@contextmanager
def assembled(
    chunks: Iterable[bytes], filename: str, guard: Guard, *, md5: str | None
) -> Iterator[tuple[Path, StoredFile]]:
    """A temporary file of all chunks, which whoever keeps it moves away, else it goes."""
    folder = get_settings().data_dir / "uploads"
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder)
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            sha256, found = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
            for chunk in chunks:
                guard.feed(chunk)
                sha256.update(chunk)
                found.update(chunk)
                stream.write(chunk)
        guard.finish()
        _require_md5(md5, found.hexdigest())
        yield path, StoredFile(filename, path.stat().st_size, sha256.hexdigest())
    finally:
        path.unlink(missing_ok=True)


def _require_md5(expected: str | None, found: str) -> None:
    if expected is not None and expected.lower() != found:
        raise InvalidInput(
            f"md5: the parts in this order have {found}, not {expected}; are they all there, and "
            "in order? Begin a new upload if a part is wrong.",
            param="md5",
            code="md5_mismatch",
        )
