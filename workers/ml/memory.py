"""How much memory there is and how much a training takes. Knows sizes, no model class."""

import ctypes
import resource
from pathlib import Path

import torch

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of malloc.h
KEPT_PER_LAYER = 12  # hidden-size vectors that a decoder layer keeps for its backward pass
KEPT_PER_MLP = 4  # intermediate-size vectors likewise


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


def used(device: str) -> int:
    """Bytes in use: of the process on a CPU, allocated on a GPU."""
    if device.startswith("cuda"):
        return torch.cuda.memory_allocated(device)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def peak(device: str) -> int:
    """The largest `used` so far."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    # The kernel notes the peak only now and then.
    return max(used(device), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def available(device: str) -> int:
    """Bytes that a training may still take, on a CPU within the control group's limit."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(device)[0]
    meminfo = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    host = int(meminfo["MemAvailable"].split()[0]) * 1024
    return min(host, _group_limit())


def group_bytes(
    config, *, tokens: int, labels: int, itemsize: int, gradient_checkpointing: bool
) -> int:
    """What a packed row of `tokens` leaves behind for its backward pass, by estimate: vectors of
    every layer (checkpointed: one a layer, and all of one layer) and the logits of `labels`, in
    the model's dtype and in fp32, with their gradients."""
    layer = KEPT_PER_LAYER * config.hidden_size + KEPT_PER_MLP * config.intermediate_size
    layers = config.num_hidden_layers
    kept = layer + layers * config.hidden_size if gradient_checkpointing else layer * layers
    return tokens * kept * itemsize + labels * config.vocab_size * 2 * (itemsize + 4)


def _group_limit() -> int:
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        current = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except OSError:
        return 1 << 62
    return 1 << 62 if limit == "max" else max(0, int(limit) - current)
