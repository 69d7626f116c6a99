"""The plots of how things grow: for each axis one of time and one of memory."""

from collections.abc import Iterator
from typing import Any

from benchmarks import plot

WHAT = (
    ("seconds", 1.0, "seconds a turn", "Time"),
    ("growth_bytes", 1 / 2**20, "MiB grown by", "Memory"),
)


def plots(figures: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """File name and SVG of each."""
    for axis in dict.fromkeys(one["axis"] for one in figures["points"]):
        some = [one for one in figures["points"] if one["axis"] == axis]
        for figure, scale, label, title in WHAT:
            series = {
                who: [(one["value"], one[figure] * scale) for one in some if one["who"] == who]
                for who in dict.fromkeys(one["who"] for one in some)
            }
            title = f"{title}, {figures['model']}"
            name = f"{axis}-{figure.split('_')[0]}-{figures['model']}.svg"
            yield name, plot.lines(title, figures["units"][axis], label, series)
