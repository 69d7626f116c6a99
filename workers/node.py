"""What this worker is: its queue, its devices and their memory. Knows no job and no torch."""

import os
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from itertools import takewhile
from pathlib import Path

from core.fleet.service import Node
from core.settings import Settings

PACKAGES = ("tuneyard", "celery", "torch", "transformers", "peft", "bitsandbytes", "datasets")
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def describe_node(worker_id: str, queue: str, settings: Settings) -> Node:
    """All but its models, which come and go."""
    device = find_device(settings) if queue == "gpu" else "cpu"
    return Node(
        id=worker_id,
        queue=queue,
        device=device,
        slots=1,
        memory_bytes=memory_of(device, count_processes(settings, device)),
        models=[],
        versions=package_versions(),
    )


def find_device(settings: Settings) -> str:
    """The device that jobs of this worker run on; the worker is pinned by CUDA_VISIBLE_DEVICES."""
    if settings.device != "auto":
        return settings.device
    return "cuda" if gpu_memory() else "cpu"


def count_processes(settings: Settings, device: str) -> int:
    """How many processes share a training: one for each GPU that the worker is pinned to, unless
    the settings say how many."""
    if settings.processes or device == "cpu":
        return settings.processes or 1
    return max(1, len(visible_gpus()))


def visible_gpus() -> list[str]:
    """The GPUs that this worker is pinned to, as CUDA reads it: up to what can't be one."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in given.split(",")]
    return list(takewhile(lambda name: name and not name.startswith("-"), names))


def memory_of(device: str, processes: int) -> int:
    """Bytes that a process of a job can have: on a CPU they share the machine's."""
    return host_memory() // processes if device == "cpu" else gpu_memory()


def gpu_memory() -> int:
    """Bytes of the first visible GPU, 0 without one. Asked of the driver: torch is not loaded."""
    smi = shutil.which("nvidia-smi")
    if smi is None or os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return 0
    wanted = next(iter(visible_gpus()), "0")
    query = [smi, "--query-gpu=memory.total", "--format=csv,noheader,nounits", "-i", wanted]
    asked = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    lines = asked.stdout.split()
    known = asked.returncode == 0 and lines and lines[0].isdecimal()  # some drivers say [N/A]
    return int(lines[0]) * 1024**2 if known else 0


def host_memory() -> int:
    """Bytes of memory that this process may use at most."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = CGROUP_LIMIT.read_text().strip() if CGROUP_LIMIT.exists() else "max"
    return total if limit == "max" else min(total, int(limit))


def package_versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
