"""Ours against a peer, round by round: which figure, what is aimed at, what would be ideal.

Knows contests' outcomes, no model. A ratio is always ours over the peer's; where less is better
(`lower`), an aim is met from above.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.contest import Outcome


@dataclass(frozen=True)
class Comparison:
    """`scale` turns the contest's figure into `unit`; `aim` is one of GOALS.md, or none."""

    goal: int
    ours: str
    peer: str
    figure: str
    unit: str
    scale: float = 1.0
    ideal: float | None = None
    aim: float | None = None
    lower: bool = False


def conclude(outcome: Outcome, comparisons: Iterable[Comparison]) -> list[dict[str, Any]]:
    """A row for each: both medians, the ratio with its spread, whether the aim is met."""
    return [_row(outcome, one) for one in comparisons]


def _row(outcome: Outcome, one: Comparison) -> dict[str, Any]:
    ratio = outcome.ratio(one.ours, one.peer, one.figure)
    return asdict(one) | {
        "ours_value": outcome.median(one.ours, one.figure) * one.scale,
        "peer_value": outcome.median(one.peer, one.figure) * one.scale,
        "rounds": len(outcome.rounds[one.ours]),
        "ratio": ratio,
        "met": None if one.aim is None else is_met(ratio["median"], one.aim, lower=one.lower),
    }


def is_met(ratio: float, aim: float, *, lower: bool) -> bool:
    return ratio <= aim if lower else ratio >= aim


COLUMNS = (
    *("ours", "peer", "unit", "our figure", "the peer's"),
    *("ratio", "spread", "ideal", "aim", "met"),
)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each row of `conclude`, as Markdown."""
    return markdown([("goal", *COLUMNS), *((str(row["goal"]), *cells(row)) for row in rows)])


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """What stands in COLUMNS."""
    ratio, sign = row["ratio"], "≤" if row["lower"] else "≥"
    return (
        row["ours"],
        row["peer"],
        row["unit"],
        short(row["ours_value"]),
        short(row["peer_value"]),
        f"**{short(ratio['median'])}**",
        f"{short(ratio['lowest'])} to {short(ratio['highest'])} ({row['rounds']})",
        "" if row["ideal"] is None else short(row["ideal"]),
        "" if row["aim"] is None else f"{sign} {short(row['aim'])}",
        {None: "", True: "yes", False: "no"}[row["met"]],
    )


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table; its first row is the head."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def short(value: float) -> str:
    """Three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")
