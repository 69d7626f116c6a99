"""How time and memory grow with prefix, group, rows and adapters; ours and a plain peer.

    python -m benchmarks.growth FOLDER [--model NAME] [--rounds 3] [--minutes M]
                                       [--axes prefix,rows]

Each point is a contest of its own with the memory of its contestants watched; one that is there is
not played again. Writes benchmarks/results/growth-NAME.json.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.adapters.material import make_adapters
from benchmarks.contest import Outcome, contest, forget
from benchmarks.growth.axes import AXES, UNITS, Point, points
from benchmarks.inference.contestants import Players
from benchmarks.inference.material import prepare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--axes", default=",".join(AXES))
    options = parser.parse_args()
    until = None if options.minutes is None else time.monotonic() + 60 * options.minutes
    home = Path(".tuneyard/bench") / options.model
    material = prepare(options.model, options.folder, home)
    adapters = list(map(str, make_adapters(material.adapter, home / "adapters", 16)))
    told = Players(material, 0).told("none", merged=False)
    found, played = [], []
    for axis in options.axes.split(","):
        for point in points(axis, told, adapters, (home / "growth").absolute()):
            name = f"growth-{options.model}-{axis}-{point.value}"
            minutes = None if until is None else (until - time.monotonic()) / 60
            outcome = contest(name, point.contestants, rounds=options.rounds, minutes=minutes)
            found += figures(point, outcome)
            played.append(name)
    whole = {"model": options.model, "units": UNITS, "points": found}
    record.write(f"growth-{options.model}", whole)
    for name in played:
        forget(name)
    print(table(found))


def figures(point: Point, outcome: Outcome) -> list[dict[str, Any]]:
    """Seconds of a turn and the growth of memory, for each contestant."""
    return [
        {
            "axis": point.axis,
            "value": point.value,
            "who": who,
            "seconds": statistics.median(seconds(one, point.count) for one in rounds),
            "growth_bytes": max(one["peak_growth_bytes"] for one in rounds),
        }
        for who, rounds in outcome.rounds.items()
    ]


def seconds(one: dict[str, Any], count: int) -> float:
    return one["seconds"] if "seconds" in one else count / one["requests_per_second"]


def table(found: list[dict[str, Any]]) -> str:
    lines = ["| axis | value | who | s a turn | MiB grown by |", "|---|---|---|---|---|"]
    for one in found:
        lines.append(
            f"| {one['axis']} | {one['value']} | {one['who']} | {one['seconds']:.2f} "
            f"| {one['growth_bytes'] / 2**20:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
