"""Bytes under keys, on any fsspec URL. Knows no table and no meaning of a key.

A key is a relative POSIX path made by the platform, never by a user.
"""

import errno
import hashlib
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import fsspec

from core.errors import NotFound, TuneyardError, Unavailable
from core.settings import get_settings

log = logging.getLogger(__name__)

CHUNK = 1024 * 1024
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class StoredFile:
    """One file below a key: its relative path, size and SHA-256."""

    path: str
    bytes: int
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Found:
    """A file that lies in the storage: its key, size, and when it was written."""

    key: str
    bytes: int
    modified: float


def hash_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def describe_tree(root: Path) -> list[StoredFile]:
    """Every regular file below `root`, hashed, in path order. Symlinks are refused."""
    files = []
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            raise ValueError(f"{path} is a symbolic link")
        if path.is_file():
            name = path.relative_to(root).as_posix()
            files.append(StoredFile(name, path.stat().st_size, hash_file(path)))
    return files


def verify_tree(root: Path, manifest: list[StoredFile]) -> str | None:
    """What is wrong with the files below `root`, or None if each is there as recorded."""
    for entry in manifest:
        path = root / entry.path
        if not path.is_file():
            return f"{entry.path} is missing"
        if path.stat().st_size != entry.bytes:
            return f"{entry.path} has {path.stat().st_size} bytes instead of {entry.bytes}"
        if hash_file(path) != entry.sha256:
            return f"{entry.path} has another sha256 than recorded"
    return None


def sync(path: Path) -> None:
    """Wait until a file's bytes, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # some network file systems sync no folder
        if error.errno != errno.EINVAL or not path.is_dir():
            raise
    finally:
        os.close(handle)


def _make_folder(folder: Path) -> None:
    """With its parents; a name on the disk in a folder that is not there is none."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


class Storage:
    """Put, get and delete below one URL."""

    def __init__(self, url: str) -> None:
        self.url = url
        # Listings are not kept: other processes write and delete below the same URL.
        self.fs, self.root = fsspec.url_to_fs(url, use_listings_cache=False)
        self.local = "file" in self.fs.protocol

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Whatever an object store's client raises when it is away, after its own tries, is
        `Unavailable`: its errors have no base in common. What it said is the log's: it names hosts,
        and whoever asks the platform for a file may see this message."""
        try:
            yield
        except (TuneyardError, FileNotFoundError):
            raise
        except Exception as error:
            if self.local or getattr(error, "errno", None) in DISK_FULL:
                raise
            log.error("the storage does not answer: %s: %s", type(error).__name__, error)
            raise Unavailable("The storage does not answer just now; try again later") from error

    def _full(self, key: str) -> str:
        pure = PurePosixPath(key)
        if pure.is_absolute() or ".." in pure.parts or not pure.parts:
            raise ValueError(f"bad storage key {key!r}")
        return f"{self.root}/{pure}"

    def put(self, source: Path, key: str, *, move: bool = False) -> None:
        """Store a file; a reader sees the old or the whole new one, never a part, also after the
        power was cut: what a success is recorded of has to be on the disk by then."""
        target = self._full(key)
        if not self.local:
            with self._answering():
                self.fs.put_file(str(source), target)
            return
        folder = Path(target).parent
        _make_folder(folder)
        staged = Path(f"{target}.{uuid.uuid4().hex}.part")
        try:
            if move:
                shutil.move(source, staged)
            else:
                shutil.copyfile(source, staged)
            sync(staged)
            staged.replace(target)
            sync(folder)
        except BaseException:  # a disk that is full gets its room back
            staged.unlink(missing_ok=True)
            raise

    def put_tree(self, source: Path, key: str, *, move: bool = False) -> None:
        """Store each file below a folder."""
        for path in sorted(source.rglob("*")):
            if path.is_file():
                self.put(path, f"{key}/{path.relative_to(source).as_posix()}", move=move)

    def fetch(self, key: str, target: Path) -> Path:
        """A local path of the file or folder: itself on a local disk, else a copy at `target`,
        which is used again if it is there: a key's bytes never change."""
        if self.local:
            path = Path(self._full(key))
            if not path.exists():
                raise _missing(key)
            return path
        if target.exists():
            return target
        full = self._full(key)
        # Two may fetch the same at once, and either may die half-way: what has the name is whole.
        staged = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
        with self._answering():
            if not self.fs.exists(full):
                raise _missing(key)
            target.parent.mkdir(parents=True, exist_ok=True)
            self.fs.get(full, str(staged), recursive=self.fs.isdir(full))
        with suppress(OSError):  # another was quicker with a folder of the same content
            staged.replace(target)
        return target

    def fault_in(self, key: str, files: list[StoredFile]) -> str | None:
        """What is missing below a key or has another size, by a look at the storage alone."""
        full = self._full(key)
        self.fs.invalidate_cache(full)
        with self._answering():
            found = self.fs.find(full, detail=True) if files else {}
        sizes = {path: entry["size"] for path, entry in found.items()}
        for file in files:
            size = sizes.get(f"{full}/{file.path}")
            if size != file.bytes:
                there = "missing" if size is None else f"{size} bytes instead of {file.bytes}"
                return f"{file.path} is {there} in the storage"
        return None

    def open(self, key: str) -> BinaryIO:
        full = self._full(key)
        try:
            with self._answering():
                return self.fs.open(full, "rb")
        except FileNotFoundError:
            raise _missing(key) from None

    def chunks(self, key: str) -> Iterator[bytes]:
        """The bytes of a file, piece by piece. It is opened at once: that it is not there is known
        before the first piece is asked for."""
        return self._pieces(self.open(key))

    def _pieces(self, stream: BinaryIO) -> Iterator[bytes]:
        with stream:
            while True:
                with self._answering():
                    piece = stream.read(CHUNK)
                if not piece:
                    return
                yield piece

    def walk(self, key: str) -> Iterator[Found]:
        """Every file below a key, folder by folder, so that only one's listing is in memory."""
        folder = self._full(key)
        self.fs.invalidate_cache(folder)  # a listing may be kept from an earlier walk
        try:
            with self._answering():
                entries = self.fs.ls(folder, detail=True)
        except FileNotFoundError:
            return
        self.fs.invalidate_cache(folder)
        for entry in entries:
            name = entry["name"].removeprefix(f"{self.root}/")
            if entry["type"] == "directory":
                yield from self.walk(name)
            elif name != key:  # S3 may have an empty object in a folder's place
                yield Found(name, entry["size"], _modified(entry))

    def delete(self, key: str) -> None:
        """Remove a file or a folder; one that is gone already is fine."""
        full = self._full(key)
        with self._answering():
            if self.fs.exists(full):
                self.fs.rm(full, recursive=True)

    def ping(self) -> None:
        """Raise unless it answers; an object store's client tries for most of a minute."""
        if self.local:
            Path(self.root).mkdir(parents=True, exist_ok=True)
        with self._answering():
            self.fs.exists(self.root)


def _missing(key: str) -> NotFound:
    """The key is the log's: it says nothing to whoever asked."""
    log.warning("%s is not in the storage", key)
    return NotFound("The stored bytes of this are not there any more")


def _modified(entry: dict[str, Any]) -> float:
    """Unix seconds, as a local disk or S3 tells them."""
    return entry["mtime"] if "mtime" in entry else entry["LastModified"].timestamp()


@lru_cache
def get_storage(url: str | None = None) -> Storage:
    """The process's storage."""
    return Storage(url or get_settings().storage_url)


def forget_storages() -> None:
    """After a fork: the thread that talks to an object store is the parent's."""
    get_storage.cache_clear()
