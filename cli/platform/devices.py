"""Which GPUs this machine has and which worker gets what. Asks the driver, never torch."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from cli.platform.errors import Refused

DRIVER_FOLDER = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class WorkerPlan:
    """One worker: its name before the `@`, its queue, and the environment that pins its devices."""

    name: str
    queue: str
    env: dict[str, str]


def count_gpus(driver_folder: Path = DRIVER_FOLDER) -> int:
    """NVIDIA GPUs of this machine; 0 where there is no driver."""
    if driver_folder.is_dir():
        return len(list(driver_folder.iterdir()))
    tool = shutil.which("nvidia-smi")  # WSL has a driver, but not that folder
    if tool is None:
        return 0
    try:
        listed = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def visible_gpus(environ: Mapping[str, str], present: int) -> list[str]:
    """The names by which CUDA knows the GPUs that we may use: indices or UUIDs, in order.

    CUDA reads CUDA_VISIBLE_DEVICES up to the first entry that is no device; so do we.
    """
    given = environ.get("CUDA_VISIBLE_DEVICES")
    if present == 0:
        return []
    if given is None:
        return [str(index) for index in range(present)]
    usable = []
    for entry in (part.strip() for part in given.split(",")):
        if not entry or entry.startswith("-") or (entry.isdigit() and int(entry) >= present):
            break
        usable.append(entry)
    return usable


def plan_workers(
    *, device: str, gpus: list[str], wanted: int | None, threads: int
) -> list[WorkerPlan]:
    """Workers of queue `gpu`, one a GPU (or `wanted` of them on the CPU), and one of `cpu`.

    Fewer workers than GPUs share them out: a training is done on all GPUs of its worker. The one of
    `cpu` is there so that a prepare never waits behind a training.
    """
    if wanted is not None and wanted < 1:
        raise Refused(f"--workers {wanted}: at least 1 is needed")
    if device == "cuda" and not gpus:
        raise Refused("TUNEYARD_DEVICE=cuda, but no GPU is visible here; say cpu or auto")
    on_cpu = {"TUNEYARD_DEVICE": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    if device == "cpu" or not gpus:
        # Several trainings with all cores each would only get in each other's way.
        share = threads or max(1, (os.cpu_count() or 1) // (wanted or 1))
        slots = [{**on_cpu, "TUNEYARD_THREADS": str(share)} for _ in range(wanted or 1)]
    else:
        if wanted is not None and wanted > len(gpus):
            raise Refused(f"--workers {wanted}: only {len(gpus)} GPUs are visible, one worker each")
        slots = [
            {"TUNEYARD_DEVICE": device, "CUDA_VISIBLE_DEVICES": ",".join(share)}
            for share in _shared_out(gpus, wanted or len(gpus))
        ]
    workers = [WorkerPlan(f"gpu{index}", "gpu", env) for index, env in enumerate(slots)]
    return [*workers, WorkerPlan("cpu0", "cpu", on_cpu)]


def _shared_out(gpus: list[str], workers: int) -> list[list[str]]:
    """Neighbours together, the first with one more where it does not come out even."""
    each, more = divmod(len(gpus), workers)
    ends = [index * each + min(index, more) for index in range(workers + 1)]
    return [gpus[start:end] for start, end in pairwise(ends)]
