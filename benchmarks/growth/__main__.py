"""How time and memory grow with prefix, group, rows and adapters; ours and a plain peer.

    python -m benchmarks.growth FOLDER [--model NAME] [--rounds 3] [--minutes M]
                                       [--axes prefix,rows]

Each point is a contest of its own with the memory of its contestants watched; one that is there is
not played again, and one that fails does not cost the others. Writes
benchmarks/results/growth-NAME.json.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.adapters.material import make_adapters
from benchmarks.contest import Ended, Outcome, allowance, contest, forget
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
    left = allowance(options.minutes)
    home = Path(".tuneyard/bench") / options.model
    material = prepare(options.model, options.folder, home)
    adapters = list(map(str, make_adapters(material.adapter, home / "adapters", 16)))
    told = Players(material, 0).told("none", merged=False)
    wanted = [
        point
        for axis in options.axes.split(",")
        for point in points(axis, told, adapters, (home / "growth").absolute())
    ]
    found = measure(options.model, wanted, rounds=options.rounds, left=left)
    print(table(found))


def measure(
    model: str, points: Sequence[Point], *, rounds: int, left: Callable[[], float]
) -> list[dict[str, Any]]:
    """The figures of all points, recorded after each. One whose contestants end, as when memory
    runs out, is passed over, and the next call tries it again."""
    found, lost = [], []
    for point in points:
        name = name_of(model, point)
        try:
            outcome = contest(name, point.contestants, rounds=rounds, minutes=left())
        except Ended as ended:
            print(ended, file=sys.stderr, flush=True)
            lost.append(name)
            continue
        found += figures(point, outcome)
        record.write(f"growth-{model}", {"model": model, "units": UNITS, "points": found})
    if lost:
        raise SystemExit(f"without figures: {', '.join(lost)}; the same command tries again")
    for point in points:
        forget(name_of(model, point))
    return found


def name_of(model: str, point: Point) -> str:
    return f"growth-{model}-{point.axis}-{point.value}"


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
