"""A pack is the stored files to the byte, or it breaks off."""

import hashlib
import io
import zipfile
from pathlib import Path

import pytest

from core.artifacts.pack import SUMS, Packed, require_stored, zip_chunks
from core.errors import NotFound
from core.storage import CHUNK, Storage

FILES = {"adapter_model.safetensors": b"weights" * CHUNK, "提示/prompt.json": b"{}", "empty": b""}


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Storage, list[Packed]]:
    storage = Storage(f"file://{tmp_path / 'storage'}")
    files = []
    for name, content in FILES.items():
        source = tmp_path / "source"
        source.write_bytes(content)
        storage.put(source, f"k/{name}")
        digest = hashlib.sha256(content).hexdigest()
        files.append(Packed(name, f"k/{name}", len(content), digest, 1_700_000_000.0))
    return storage, files


def test_a_pack_has_every_file_to_the_byte_and_their_sums(stored) -> None:
    storage, files = stored
    require_stored(storage, "k", files)
    chunks = list(zip_chunks(storage, files))
    assert max(map(len, chunks)) < 2 * CHUNK  # it is sent as it is read
    with zipfile.ZipFile(io.BytesIO(b"".join(chunks))) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in FILES} == FILES
        sums = dict(line.split("  ")[::-1] for line in archive.read(SUMS).decode().splitlines())
    assert sums == {file.name: file.sha256 for file in files}


def test_a_file_that_is_not_as_recorded_breaks_it_off(stored, tmp_path: Path) -> None:
    storage, files = stored
    (tmp_path / "storage/k/adapter_model.safetensors").write_bytes(b"WEIGHTS" * CHUNK)
    require_stored(storage, "k", files)  # by its size it could be the right one
    with pytest.raises(OSError, match="sha256"):
        list(zip_chunks(storage, files))


def test_what_is_missing_is_said_before_the_first_byte(stored) -> None:
    storage, files = stored
    storage.delete("k/empty")
    with pytest.raises(NotFound, match="empty is missing"):
        require_stored(storage, "k", files)


def test_nothing_is_compressed(stored) -> None:
    storage, files = stored
    total = sum(file.bytes for file in files)
    assert 0 < len(b"".join(zip_chunks(storage, files))) - total < 2000
