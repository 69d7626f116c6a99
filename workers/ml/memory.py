"""How much memory there is, and how much is used. Knows no model."""

import ctypes
import gc
import resource
from contextlib import suppress
from pathlib import Path

import torch

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of malloc.h


def keep_freed_memory() -> None:
    """Has glibc's allocator keep what a step frees for the next one. Else it hands large blocks
    back and each step faults its pages in again: 165,000 faults and 15 % of its CPU time, measured
    on a 135M model. Elsewhere than on glibc nothing happens."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_THRESHOLD, 32 << 20)  # glibc's maximum
    mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
    mallopt(M_TOP_PAD, 64 << 20)


def give_back(device: str) -> None:
    """Let the system have what nothing uses any more."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        return
    with suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)


def used(device: str) -> int:
    """Bytes in use: of the process on a CPU, allocated on a GPU."""
    if device.startswith("cuda"):
        return torch.cuda.memory_allocated(device)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def peak(device: str) -> int:
    """The largest `used` so far, or since `forget_peak`."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    # The kernel notes the peak only now and then.
    return max(used(device), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def forget_peak(device: str) -> None:
    """Let `peak` begin anew, where that can be had."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def available(device: str) -> int:
    """Bytes that a training may still take, on a CPU within the control group's limit."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(device)[0]
    meminfo = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    host = int(meminfo["MemAvailable"].split()[0]) * 1024
    return min(host, _group_limit())


def _group_limit() -> int:
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        current = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except OSError:
        return 1 << 62
    return 1 << 62 if limit == "max" else max(0, int(limit) - current)
