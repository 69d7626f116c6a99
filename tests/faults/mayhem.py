"""Faults drawn from a seed, and how each is done to a rig. Knows nothing of jobs.

A schedule is made of the seed alone, so the same seed brings the same faults at the same seconds;
what the processes are doing at that second is theirs.
"""

import contextlib
import heapq
import itertools
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from tests.faults.rig import Rig
from tests.servers import Server

# What is done, and how often beside the others. Most strike a worker: that is where jobs are.
WEIGHTS = {
    "runner killed": 5,
    "worker killed": 3,
    "pool child killed": 3,
    "worker told to go": 4,
    "worker frozen": 2,
    "pool child frozen": 1,
    "runner frozen": 2,
    "keeper killed": 2,
    "keeper told to go": 1,
    "beat killed": 2,
    "api killed": 2,
    "api told to go": 1,
    "broker killed": 2,
    "database killed": 2,
}
AWAY_SECONDS = (0.0, 0.5, 2.0, 5.0)
"""How long a killed process is away."""
SERVER_AWAY_SECONDS = (0.0, 0.0, 0.5, 2.0, 2.0, 12.0)
"""How long a server is; now and then longer than the lease."""
WORK_SECONDS = 15
"""How long to wait for a runner that is at work before any is taken, a waiting spare too."""


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong at a second of the run."""

    at: float
    kind: str
    pick: int
    """Which of the processes that it can strike."""
    away: float
    """Seconds until the process is started, or thawed, again."""


def draw(
    seed: int, seconds: float, *, gap: float, lease: float, without: tuple[str, ...] = ()
) -> list[Fault]:
    """The faults of a run, on average one in `gap` seconds."""
    chance = random.Random(seed)
    kinds = {kind: weight for kind, weight in WEIGHTS.items() if kind not in without}
    faults = []
    at = chance.expovariate(1 / gap)
    while at < seconds:
        kind = chance.choices(list(kinds), weights=list(kinds.values()))[0]
        away = chance.choice(AWAY_SECONDS)
        if kind.endswith("frozen"):
            away = lease + chance.uniform(1, 4)
        elif kind in ("broker killed", "database killed"):
            away = chance.choice(SERVER_AWAY_SECONDS)
        faults.append(Fault(at, kind, chance.randrange(1000), away))
        at += chance.expovariate(1 / gap)
    return faults


class Mayhem:
    """Does the faults of a schedule to a rig and mends what it broke. One thread, the main one:
    the processes that it starts die with their thread."""

    def __init__(self, rig: Rig, servers: dict[str, Server], faults: list[Fault]) -> None:
        self.rig = rig
        self.servers = servers
        self.done: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.away: set[str] = set()
        """Names of processes that are down, going or frozen: they are left alone."""
        self._began = time.monotonic()
        self._number = itertools.count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        for fault in faults:
            self._later(fault.at, lambda fault=fault: self._strike(fault))

    def step(self) -> None:
        """Do what is due."""
        while self._due and self._due[0][0] <= self._seconds():
            heapq.heappop(self._due)[2]()

    def over(self) -> bool:
        """Is everything done, and all that was broken mended?"""
        return not self._due

    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def _later(self, at: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._due, (at, next(self._number), call))

    # -- faults ----------------------------------------------------------------------------------

    def _strike(self, fault: Fault) -> None:
        part, _, deed = fault.kind.rpartition(" ")
        if part == "runner":
            self._await_a_runner(fault, self._seconds() + WORK_SECONDS)
            return
        if fault.kind.endswith("told to go"):
            struck = self._tell_to_go(fault, part.removesuffix(" told to"))
        elif part in self.servers:
            struck = self._kill_server(fault, part)
        elif part == "pool child":
            struck = self._strike_within(fault, part, deed)
        elif deed == "frozen":
            struck = self._freeze_worker(fault)
        else:
            struck = self._kill(fault, part)
        (self.done if struck else self.skipped)[fault.kind] += 1

    def _names(self, part: str) -> list[str]:
        """Processes of that part which stand."""
        workers = sorted(name for name in self.rig.running if name.startswith(("gpu", "cpu")))
        names = workers if part == "worker" else [part]
        return [name for name in names if name not in self.away and name in self.rig.running]

    def _kill(self, fault: Fault, part: str) -> bool:
        names = self._names(part)
        if not names:
            return False
        name = names[fault.pick % len(names)]
        self.rig.kill(name)
        self._start_later(name, fault.away)
        return True

    def _tell_to_go(self, fault: Fault, part: str) -> bool:
        names = self._names(part)
        if not names:
            return False
        name = names[fault.pick % len(names)]
        self.away.add(name)
        process = self.rig.running[name]
        process.terminate()
        patience = self._seconds() + 60

        def look() -> None:
            if process.poll() is None and self._seconds() < patience:
                self._later(self._seconds() + 0.25, look)
                return
            if process.poll() is None:
                self.done["worker that had to be killed after SIGTERM"] += 1
                process.kill()
            process.wait()
            self.rig.running.pop(name)
            self._start_later(name, fault.away)

        self._later(self._seconds() + 0.25, look)
        return True

    def _kill_server(self, fault: Fault, part: str) -> bool:
        server = self.servers[part]
        if part in self.away:
            return False
        self.away.add(part)
        if part == "database":
            server.stop()  # `immediate`: killed, it would leave its children behind
        else:
            server.kill()

        def back() -> None:
            server.start()
            self.away.discard(part)

        self._later(self._seconds() + fault.away, back)
        return True

    def _strike_within(self, fault: Fault, part: str, deed: str) -> bool:
        """Kill or freeze a process that a worker has started."""
        found = [(name, one) for name in self._names("worker") for one in self._within(name, part)]
        if not found:
            return False
        name, process = found[fault.pick % len(found)]
        with contextlib.suppress(psutil.NoSuchProcess):
            if deed == "killed":
                process.kill()
            else:
                self._freeze(name, [process], fault.away)
            return True
        return False

    def _await_a_runner(self, fault: Fault, until: float) -> None:
        """Strike a runner in the midst of its work: wait for one, at last take any."""
        part, _, deed = fault.kind.rpartition(" ")
        late = self._seconds() > until
        if self._strike_within(fault, "runner at work", deed) or (
            late and self._strike_within(fault, part, deed)
        ):
            self.done[fault.kind] += 1
        elif late:
            self.skipped[fault.kind] += 1
        else:
            self._later(self._seconds() + 0.2, lambda: self._await_a_runner(fault, until))

    def _within(self, name: str, part: str) -> list[psutil.Process]:
        if part == "runner at work":
            with contextlib.suppress(LookupError, psutil.Error):
                return [self.rig.runner_of(name)]
            return []
        word = "workers.runner" if part == "runner" else "celery"
        with contextlib.suppress(psutil.Error):
            main = psutil.Process(self.rig.running[name].pid)
            children = main.children(recursive=part == "runner")
            return [child for child in children if word in " ".join(child.cmdline())]
        return []

    def _freeze_worker(self, fault: Fault) -> bool:
        names = self._names("worker")
        if not names:
            return False
        name = names[fault.pick % len(names)]
        main = psutil.Process(self.rig.running[name].pid)
        self._freeze(name, [main, *main.children(recursive=True)], fault.away)
        return True

    def _freeze(self, name: str, processes: list[psutil.Process], away: float) -> None:
        self.away.add(name)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

        def thaw() -> None:
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()
            self.away.discard(name)

        self._later(self._seconds() + away, thaw)

    # -- mending ---------------------------------------------------------------------------------

    def _start_later(self, name: str, away: float) -> None:
        self.away.add(name)

        def start() -> None:
            self.rig.start(name)
            self.away.discard(name)

        self._later(self._seconds() + away, start)

    def revive(self) -> list[str]:
        """Start again what has ended by itself; returns the names. Nothing should have."""
        fallen = [name for name, one in self.rig.running.items() if one.poll() is not None]
        for name in fallen:
            if name not in self.away:
                self.rig.running.pop(name)
                self.rig.start(name)
        return [name for name in fallen if name not in self.away]


def living_family(rig: Rig) -> set[int]:
    """Pids of the rig's processes and of all that they have started, and of this process."""
    pids = {os.getpid()}
    for process in rig.running.values():
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(process.pid)
            pids |= {root.pid, *(child.pid for child in root.children(recursive=True))}
    return pids


def orphans(rig: Rig) -> list[str]:
    """Processes of this rig, by their environment or command, that no living part of it owns."""
    owned, found = living_family(rig), []
    needle = str(rig.folder)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid in owned or process.status() == psutil.STATUS_ZOMBIE:
                continue
            words = [*process.cmdline(), *process.environ().values()]
            if any(needle in word for word in words):
                found.append(f"{process.pid} {' '.join(process.cmdline())}")
    return found
