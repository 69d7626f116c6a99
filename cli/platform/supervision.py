"""Parts in order: started, watched, started again, stopped in reverse. Knows no part by name."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

from cli.platform.errors import StartFailed
from cli.platform.interrupts import Interrupts
from cli.platform.leash import adopt_orphans
from cli.platform.processes import (
    Part,
    children,
    ending,
    kill,
    kill_orphans,
    last_words,
    spawn,
    terminate,
)

START_SECONDS = 120
STEADY_SECONDS = 60
"""Who lived this long before dying starts again without the patience learned before."""
FIRST_DELAY, LAST_DELAY = 0.5, 30.0
TELL_SECONDS = 10
"""Whoever waits this long wants to know for what."""


@dataclass
class Member:
    """A part and its present process."""

    part: Part
    process: subprocess.Popen[bytes]
    started: float
    deaths: int = 0
    again_at: float | None = None
    """When it is to be started again; None while it runs."""


class Supervisor:
    """Owns the processes of the platform from their start to their end."""

    def __init__(
        self,
        interrupts: Interrupts,
        *,
        say: Callable[[str], None],
        changed: Callable[[dict[str, int]], None] = lambda pids: None,
    ) -> None:
        self._interrupts = interrupts
        self._say = say
        self._changed = changed
        self._members: list[Member] = []
        # A process that became us by exec may have had children; they are nobody's orphans.
        self._strangers = children()
        adopt_orphans(True)

    @property
    def pids(self) -> dict[str, int]:
        return {m.part.name: m.process.pid for m in self._members if m.again_at is None}

    def start(self, parts: list[Part]) -> bool:
        """Start them all, then wait for each; False if a stop was asked for meanwhile."""
        fresh = []
        for part in parts:  # ours as soon as it runs, should the next one not
            fresh.append(Member(part, spawn(part), time.monotonic()))
            self._members.append(fresh[-1])
        deadline = time.monotonic() + START_SECONDS
        for member in fresh:
            while not member.part.ready():
                if self._interrupts.stops:
                    return False
                self._refuse_dead(fresh)
                if time.monotonic() > deadline:
                    raise StartFailed(
                        f"{member.part.name} is not ready after {START_SECONDS} s"
                        f"{member.part.missing()}; its log: {member.part.log}"
                    )
                self._interrupts.wait(0.1)
        return not self._interrupts.stops

    def run(self, part: Part) -> int | None:
        """Run one to its end; its exit code, or None if a stop was asked for meanwhile."""
        process, begun, told = spawn(part), time.monotonic(), False
        while process.poll() is None:
            if self._interrupts.stops:
                kill(process)
                return None
            if not told and time.monotonic() - begun > TELL_SECONDS:
                self._say(f"{part.name} takes its time; its log: {part.log}")
                told = True
            self._interrupts.wait(0.2)
        return process.returncode

    def watch(self) -> None:
        """Until a stop is asked for: whatever dies is started again."""
        while not self._interrupts.stops:
            for member in self._members:
                self._tend(member)
            self._interrupts.wait(0.5)

    def stop(self) -> None:
        """Stop in reverse order, patiently; asked once more, kill."""
        stages = groupby(reversed(self._members), key=lambda member: member.part.stage)
        for _, stage in [(number, list(members)) for number, members in stages]:
            self._stop_stage([member for member in stage if member.process.poll() is None])
        kill_orphans(keep=self._strangers)
        adopt_orphans(False)
        self._members.clear()

    def _refuse_dead(self, members: list[Member]) -> None:
        for member in members:
            if member.process.poll() is not None:
                raise StartFailed(
                    f"{member.part.name} did not start ({ending(member.process)}): "
                    f"{last_words(member.part.log)} (its log: {member.part.log})"
                )

    def _tend(self, member: Member) -> None:
        now = time.monotonic()
        if member.again_at is None and member.process.poll() is not None:
            steady = now - member.started > STEADY_SECONDS
            member.deaths = 1 if steady else member.deaths + 1
            delay = min(LAST_DELAY, FIRST_DELAY * 2 ** (member.deaths - 1))
            member.again_at = now + delay
            kill_orphans(keep=self._strangers | set(self.pids.values()))
            self._say(
                f"{member.part.name} ended ({ending(member.process)}) and is started again in "
                f"{delay:g} s; its log: {member.part.log}"
            )
        elif member.again_at is not None and now >= member.again_at:
            self._start_again(member)

    def _start_again(self, member: Member) -> None:
        try:
            member.process = spawn(member.part)
        except (OSError, subprocess.SubprocessError) as error:  # no memory, no room: it may come
            member.again_at = time.monotonic() + LAST_DELAY
            self._say(
                f"{member.part.name} can't be started ({error}); tried again in {LAST_DELAY:g} s"
            )
            return
        member.started, member.again_at = time.monotonic(), None
        self._say(f"{member.part.name} runs again (pid {member.process.pid})")
        self._changed(self.pids)

    def _stop_stage(self, members: list[Member]) -> None:
        begun = time.monotonic()
        for member in members:
            terminate(member.process)
        while waiting := [member for member in members if member.process.poll() is None]:
            for member in waiting:
                if self._interrupts.stops > 1 or time.monotonic() - begun > member.part.patience:
                    self._say(f"{member.part.name} has not stopped and is killed")
                    kill(member.process)
            self._interrupts.wait(0.1)
