"""A child that dies with its parent, however the parent dies. Knows nothing of what it runs."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

# Loaded before any fork: after one, only calls that take no lock are safe.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def dies_with(parent: int, *, by: int = signal.SIGKILL) -> Callable[[], None]:
    """A `preexec_fn` that asks the kernel to signal the child when process `parent` is gone.

    The kernel watches the *thread* that forked, so start children from the main thread alone.
    """

    def prepare() -> None:
        if _libc is None:
            return  # only Linux can do this; elsewhere a killed parent leaves its children
        _libc.prctl(PR_SET_PDEATHSIG, by, 0, 0, 0)
        if os.getppid() != parent:  # it died between fork and prctl
            os.kill(os.getpid(), by)

    return prepare


def adopt_orphans(adopt: bool) -> None:
    """Whatever a dead child leaves behind becomes ours (prctl(2), child subreaper), not init's."""
    if _libc is not None:
        _libc.prctl(PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)
