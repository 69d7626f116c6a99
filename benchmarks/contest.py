"""Contests: programs that do the same work in turns, A B A B, each a process of its own.

Knows neither models nor peers. A contestant is a command that speaks `benchmarks/peers/turns.py`:
a line of JSON when it is ready, then one for every line it is given, until the end of its input.
What was measured is kept round by round: a contest that was stopped goes on where it was, as long
as its contestants are called as they were.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import record
from cli.platform.leash import dies_with

FOLDER = Path(".tuneyard/bench")
Figures = dict[str, Any]


@dataclass(frozen=True)
class Contestant:
    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


class Ended(SystemExit):
    """A contestant's process is gone: the contest it was in can't be finished, others can."""


class Player:
    """A contestant's process. `about` is what it said when it was ready."""

    def __init__(self, contestant: Contestant, log: Path) -> None:
        self.name, self.log = contestant.name, log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                contestant.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=os.environ | contestant.environment,
                text=True,
                encoding="utf-8",
                # One that outlived a killed contest would slow down the next.
                preexec_fn=dies_with(os.getpid()),
            )
        self.about = self._hear()

    def turn(self) -> Figures:
        with suppress(BrokenPipeError):  # who is gone says nothing: that is found next
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
        return self._hear()

    def leave(self) -> None:
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _hear(self) -> Figures:
        line = self.process.stdout.readline()
        if not line:
            end = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
            raise Ended("\n".join([f"{self.name} ended too early ({self.log}):", *end]))
        return json.loads(line)


@dataclass
class Outcome:
    """`about` and `rounds` by contestant, the rounds in the order in which they were played;
    `commits`: those at which they were."""

    about: dict[str, Figures]
    rounds: dict[str, list[Figures]]
    commits: list[str] = field(default_factory=list)

    def median(self, name: str, figure: str) -> float:
        return statistics.median(one[figure] for one in self.rounds[name])

    def ratio(self, ours: str, theirs: str, figure: str) -> Figures:
        """`ours` over `theirs`, round by round: what slows a whole round down cancels out."""
        pairs = zip(self.rounds[ours], self.rounds[theirs], strict=True)
        ratios = sorted(a[figure] / b[figure] for a, b in pairs)
        return {
            "median": statistics.median(ratios),
            "lowest": ratios[0],
            "highest": ratios[-1],
        }


def contest(
    name: str, contestants: Sequence[Contestant], *, rounds: int, minutes: float | None = None
) -> Outcome:
    """Play until there are so many rounds, each after one turn that does not count. `minutes`: no
    round begins later than that; SystemExit then, and the next call goes on."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    kept = FOLDER / f"{name}.json"
    outcome = _resumed(kept, contestants)
    until = time.monotonic() + 60 * (float("inf") if minutes is None else minutes)
    if _played(outcome) < rounds:
        _require_time(name, until)
        outcome.commits = list(dict.fromkeys([*outcome.commits, record.commit()]))
        with ExitStack() as stack:
            players = []
            for contestant in contestants:
                player = Player(contestant, FOLDER / f"{name}-{contestant.name}.log")
                stack.callback(player.leave)
                outcome.about[contestant.name] = player.about
                _tell(f"{contestant.name}: warm-up {player.turn()}")
                players.append(player)
            while _played(outcome) < rounds:
                _require_time(name, until)
                figures = {player.name: player.turn() for player in players}
                for player, one in figures.items():
                    outcome.rounds[player].append(one)
                _tell(f"round {_played(outcome)} of {rounds}: {_short(figures)}")
                _keep(kept, contestants, outcome)
    return outcome


def allowance(minutes: float | None) -> Callable[[], float]:
    """What is left of the minutes that several contests have together."""
    until = time.monotonic() + 60 * (float("inf") if minutes is None else minutes)
    return lambda: (until - time.monotonic()) / 60


def forget(name: str) -> None:
    """Let the contest begin anew, once its outcome is recorded."""
    (FOLDER / f"{name}.json").unlink(missing_ok=True)


def _require_time(name: str, until: float) -> None:
    if time.monotonic() > until:
        raise SystemExit(f"{name}: time is up; the same command goes on from here")


def _keep(kept: Path, contestants: Sequence[Contestant], outcome: Outcome) -> None:
    told = {"cpu": _cpu(), "contestants": _described(contestants), **asdict(outcome)}
    partial = kept.with_suffix(".new")
    partial.write_text(json.dumps(told), encoding="utf-8")
    partial.replace(kept)


def _resumed(kept: Path, contestants: Sequence[Contestant]) -> Outcome:
    if kept.exists():
        found = json.loads(kept.read_text(encoding="utf-8"))
        cpu, described = found.pop("cpu", None), found.pop("contestants")
        if cpu == _cpu() and described == _described(contestants):
            return Outcome(**found)
    return Outcome({}, {contestant.name: [] for contestant in contestants})


def _cpu() -> str:
    """Rounds of another machine are no rounds of this one."""
    return record.machine()["cpu"]


def _described(contestants: Sequence[Contestant]) -> dict[str, list[str]]:
    return {contestant.name: list(contestant.command) for contestant in contestants}


def _played(outcome: Outcome) -> int:
    return min(map(len, outcome.rounds.values()))


def _short(figures: dict[str, Figures]) -> str:
    return ", ".join(
        f"{name} " + " ".join(f"{key} {value:.4g}" for key, value in one.items())
        for name, one in figures.items()
    )


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
