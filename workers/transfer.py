"""Slow reading and writing of files, done beside the supervisor, which stays awake meanwhile.

What the storage raises becomes a failure of its class. Knows no job.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from core.errors import JobFailure, TuneyardError, Unavailable
from workers.fulldisk import full_disk_in

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1

Moved = TypeVar("Moved")


def transfer(work: Callable[[], Moved], heed: Callable[[], None]) -> Moved:
    """Run `work` in a thread, and `heed` again and again until it is done.

    What `heed` raises ends the wait: a storage that hangs holds up nobody. The thread is left to
    itself; it knows no database, and what it writes has a name that nobody was told.
    """
    moved: Future[Moved] = Future()
    threading.Thread(target=_settle, args=(moved, work), name="transfer", daemon=True).start()
    while not wait([moved], timeout=POLL_SECONDS).done:
        heed()
    try:
        return moved.result()
    except Unavailable as error:
        raise JobFailure("infra", f"{error.message}.") from error
    except (JobFailure, TuneyardError):
        raise
    except Exception as error:  # botocore's errors and aiohttp's have no base in common
        raise storage_failure(error) from error


def _settle(moved: Future, work: Callable[[], object]) -> None:
    try:
        moved.set_result(work())
    except BaseException as error:
        moved.set_exception(error)


def storage_failure(error: Exception) -> JobFailure:
    """The class of what a file system or an object store raised."""
    if (full := full_disk_in(error)) is not None:
        return JobFailure("disk", f"The disk is full: {full}. Free some room, then retry the job.")
    log.warning("a transfer failed: %r", error)
    what = f"{type(error).__name__}: {error}".rstrip(".")
    return JobFailure("infra", f"Files could not be read or stored: {what}.")
