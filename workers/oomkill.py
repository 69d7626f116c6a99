"""Whether the kernel has killed for want of memory in the meantime. Knows no job.

The kernel leaves no word with whoever waits for the process that it killed: a SIGKILL as any other.
But it counts, for a control group and for the whole machine.
"""

from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MACHINE = Path("/proc/vmstat")


class OomKills:
    """The counter as it stood when this was made."""

    def __init__(self, counter: Path | None = None) -> None:
        self.counter = counter or own_counter()
        self._before = count(self.counter)

    def rose(self) -> bool:
        return count(self.counter) > self._before


def own_counter(groups: Path = Path("/proc/self/cgroup")) -> Path:
    """Where the kills among this process's kin are counted: those of its control group, which are
    its own; else those of the whole machine."""
    nearest = [CGROUPS / "memory.events"]  # as a container sees its group
    for line in groups.read_text().splitlines() if groups.exists() else []:
        number, controllers, group = line.split(":", 2)
        if number == "0":
            nearest.insert(0, CGROUPS / group.lstrip("/") / "memory.events")
        elif "memory" in controllers.split(",") and group != "/":
            nearest.append(CGROUPS / "memory" / group.lstrip("/") / "memory.oom_control")
    return next((path for path in nearest if path.exists()), MACHINE)


def count(path: Path) -> int:
    """The file's line `oom_kill N`, 0 without one."""
    try:
        words = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return 0
    return next((int(line[1]) for line in words if line[:1] == ["oom_kill"]), 0)
