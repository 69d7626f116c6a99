"""Heats: contests one after the other whose comparisons make one result.

Knows contests and records, no model. The result is written after each heat: who is stopped in the
next one, or has no memory for it, keeps those before.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import record
from benchmarks.comparison import Comparison, conclude
from benchmarks.contest import Contestant, Outcome, contest, forget


@dataclass(frozen=True)
class Heat:
    """A contest of those that are compared: all at once would not have room in memory."""

    name: str
    contestants: Sequence[Contestant]
    compared: Callable[[Outcome], Iterable[Comparison]]


def play(
    name: str,
    heats: Sequence[Heat],
    told: dict[str, Any],
    *,
    rounds: int,
    left: Callable[[], float],
) -> dict[str, Any]:
    """`told` with the comparisons of all heats behind those that it has, and with the rounds by
    heat: somebody may play in two. `left`: the minutes that all of them have."""
    whole = {"comparisons": [], "about": {}, "rounds": {}, "commits": []} | told
    for heat in heats:
        outcome = contest(f"{name}-{heat.name}", heat.contestants, rounds=rounds, minutes=left())
        whole["comparisons"] = whole["comparisons"] + conclude(outcome, heat.compared(outcome))
        whole["about"] = whole["about"] | outcome.about
        whole["rounds"] = whole["rounds"] | {heat.name: outcome.rounds}
        whole["commits"] = [*dict.fromkeys([*whole["commits"], *outcome.commits])]
        record.write(name, whole)
    return whole


def forget_all(name: str, heats: Iterable[Heat]) -> None:
    """Let all heats begin anew, once their result is recorded."""
    for heat in heats:
        forget(f"{name}-{heat.name}")
