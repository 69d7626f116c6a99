"""The data directory: its folders, and that one platform alone uses it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.platform.errors import Refused, StartFailed

LOCK = "lock"
FOLDERS = ("logs", "broker", "beat", "flower")


@contextmanager
def own_data_dir(data_dir: Path) -> Iterator[None]:
    """Make it and hold its lock; `Refused` if it can't be written or another `up` has it.

    The kernel lets go of the lock when we die, however that happens.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in FOLDERS:
            (data_dir / name).mkdir(mode=0o700, exist_ok=True)
        lock = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Refused(f"data directory {data_dir}: {error.strerror}") from None
    try:
        _hold(lock, data_dir)
        yield
    finally:
        os.close(lock)


def _hold(lock: int, data_dir: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.truncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
    except BlockingIOError:
        holder = os.read(lock, 20).decode(errors="replace").strip()
        raise Refused(
            f"data directory {data_dir} is in use by another `tuneyard up` (pid {holder}); "
            f"stop it: kill {holder}"
        ) from None
    except OSError as error:  # a file system without locks, or a full one
        raise StartFailed(f"data directory {data_dir}: {error.strerror}") from None


def fresh_log(data_dir: Path, name: str) -> Path:
    """The log of a part. What an earlier `up` wrote is kept once, as NAME.log.1."""
    log = data_dir / "logs" / f"{name}.log"
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    log.touch(mode=0o600)
    return log
