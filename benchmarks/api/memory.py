"""Resident memory of a Linux process, now and at its peak since it was last asked for."""

import os
import re
from pathlib import Path


def resident(pid: int | None = None) -> int:
    return _status(pid, "VmRSS")


def peak(pid: int | None = None) -> int:
    """Bytes, since the start or the last `reset_peak`."""
    return _status(pid, "VmHWM")


def reset_peak(pid: int | None = None) -> None:
    # proc(5): 5 resets the peak resident set size.
    Path(f"/proc/{pid or os.getpid()}/clear_refs").write_text("5", encoding="ascii")


def _status(pid: int | None, field: str) -> int:
    text = Path(f"/proc/{pid or os.getpid()}/status").read_text(encoding="ascii")
    return int(re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)[1]) * 1024
