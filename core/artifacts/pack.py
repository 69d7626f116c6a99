"""Stored files as one ZIP, written while it is sent: nothing lies on this machine meanwhile.

Stored, not deflated: weights don't get smaller. Knows nothing of what the files are.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from core.errors import NotFound
from core.storage import Storage, StoredFile

SUMS = "SHA256SUMS"
"""Beside the files, as `sha256sum --check` reads it."""


@dataclass(frozen=True)
class Packed:
    """A file of the pack: its name there, and where it is stored."""

    name: str
    storage_key: str
    bytes: int
    sha256: str
    created_at: float


def require_stored(storage: Storage, key: str, files: Sequence[Packed]) -> None:
    """Raise before the first byte is sent, if a file is missing or has another size."""
    listed = [StoredFile(file.name, file.bytes, file.sha256) for file in files]
    fault = storage.fault_in(key, listed)
    if fault is not None:
        raise NotFound(f"There is no complete copy to be had: {fault}.")


def zip_chunks(storage: Storage, files: Sequence[Packed]) -> Iterator[bytes]:
    """The ZIP in pieces. A file that is not as recorded breaks it off: half a ZIP is no ZIP."""
    sink = _Sink()
    with ZipFile(sink, "w", ZIP_STORED) as archive:
        for file in files:
            digest = hashlib.sha256()
            with archive.open(_entry(file), "w", force_zip64=True) as target:
                for chunk in storage.chunks(file.storage_key):
                    digest.update(chunk)
                    target.write(chunk)
                    yield sink.take()
            if digest.hexdigest() != file.sha256:
                raise OSError(f"{file.storage_key} has another sha256 than recorded")
        sums = "".join(f"{file.sha256}  {file.name}\n" for file in files)
        archive.writestr(SUMS, sums)
    yield sink.take()


def _entry(file: Packed) -> ZipInfo:
    moment = datetime.fromtimestamp(file.created_at, UTC)
    return ZipInfo(file.name, moment.timetuple()[:6])


class _Sink:
    """What ZipFile writes to; it can't seek, so sizes stand behind each file."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken
