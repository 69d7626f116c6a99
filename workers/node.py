"""What this worker is: its queue, device and memory. Knows no job and no torch."""

import os
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
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
        memory_bytes=gpu_memory() if device != "cpu" else host_memory(),
        models=[],
        versions=package_versions(),
    )


def find_device(settings: Settings) -> str:
    """The device that jobs of this worker run on; the worker is pinned by CUDA_VISIBLE_DEVICES."""
    if settings.device != "auto":
        return settings.device
    return "cuda" if gpu_memory() else "cpu"


def gpu_memory() -> int:
    """Bytes of the first visible GPU, 0 without one. Asked of the driver: torch is not loaded."""
    smi = shutil.which("nvidia-smi")
    if smi is None or os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return 0
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
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
