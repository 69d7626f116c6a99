"""Which errors mean that a disk or a quota is full. Knows nothing of what was to be written."""

import errno
import os

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What libraries say that raise errors of their own: safetensors as the system does, SQLite.
SAYINGS = (*(os.strerror(number) for number in FULL), "database or disk is full")


def full_disk_in(error: BaseException | None) -> BaseException | None:
    """The error that says so: this one, or one in whose handling it was raised (torch's writer
    complains of a wrong position when it closes what it could not write)."""
    while error is not None:
        if getattr(error, "errno", None) in FULL or any(one in str(error) for one in SAYINGS):
            return error
        error = error.__cause__ or error.__context__
    return None
