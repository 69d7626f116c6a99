"""What the API costs and how things grow, as tables and plots. Knows how results are laid out."""

from collections.abc import Iterator
from typing import Any

from benchmarks import plot
from benchmarks.comparison import COLUMNS, cells, markdown, short

MIB = 2**20


def section(figures: dict[str, Any]) -> str:
    rows = [("database", *COLUMNS)]
    rows += [(figures["database"], *cells(row)) for row in figures["comparisons"]]
    return f"{markdown(rows)}\n\n{growth(figures)}"


def growth(figures: dict[str, Any]) -> str:
    """Each kind at its sizes; `grows` compares the two largest: 1 is linear, less is better."""
    rows = [("what", "at sizes", "seconds", "growth of memory, MiB", "grows")]
    for what, points in figures["growth"].items():
        rows.append(
            (
                what,
                " / ".join(f"{point['count']:,}" for point in points),
                " / ".join(short(point["seconds"]) for point in points),
                " / ".join(short(point["grown_bytes"] / MIB) for point in points),
                f"{linearity(points):.2f}",
            )
        )
    return f"{figures['database']}:\n\n{markdown(rows)}"


def linearity(points: list[dict[str, float]]) -> float:
    """How much faster than the size the seconds grew, from the last but one to the last."""
    before, last = points[-2:]
    return (last["seconds"] / before["seconds"]) / (last["count"] / before["count"])


def plots(figures: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """File name and SVG: seconds by size, files and lists apart."""
    database = figures["database"]
    every = {
        what: [(point["count"], point["seconds"]) for point in points]
        for what, points in figures["growth"].items()
    }
    title = f"Seconds by size, {database}"
    yield f"api-growth-{database}.svg", plot.lines(title, "rows, lines or jobs", "seconds", every)
