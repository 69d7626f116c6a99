"""The load test as a table and as plots. Knows how its result is laid out, and no platform."""

from collections.abc import Iterator
from typing import Any

from benchmarks import plot
from benchmarks.comparison import COLUMNS, cells, markdown, short

HEAD = ("clients", "requests", "failed", "requests/s", "tokens/s", "s to the last token")
HEAD += ("s to the first token",)


def section(figures: dict[str, Any]) -> str:
    """What clients saw, what a first token costs over HTTP, and one question for SQL."""
    sql = figures["sql"]
    met = "met" if within(sql) else "not met"
    load, cores = figures["conditions"]["load_average"], figures["conditions"]["cores"]
    rows = [("model", *COLUMNS), *((figures["model"], *cells(r)) for r in figures["comparisons"])]
    return "\n\n".join(
        (
            f"{figures['model']}; load average before it began: {load:.1f} on {cores} cores",
            table(figures["levels"]),
            markdown(rows),
            f"`POST /v1/sql`, one at a time, {sql['requests']} questions: {spread(sql['seconds'])} "
            f"s (50th, 95th, 99th percentile), {sql['executes']} of them with SQL that runs. "
            f"Goal 9's aim, the 50th under {sql['aim']:g} s, is {met}.",
        )
    )


def within(sql: dict[str, Any]) -> bool:
    """Half of the questions, at least, are answered as fast as they should be."""
    return bool(sql["seconds"]) and sql["seconds"]["p50"] < sql["aim"]


def table(levels: list[dict[str, Any]]) -> str:
    rows = [HEAD]
    for one in levels:
        told = (one["clients"], one["requests"], one["failed"])
        speed = (one["requests_per_second"], one["tokens_per_second"])
        waits = (one["seconds"], one["first_token_seconds"])
        rows.append((*map(str, told), *map(short, speed), *map(spread, waits)))
    return f"{markdown(rows)}\n\nSeconds are the 50th, 95th and 99th percentile."


def spread(percentiles: dict[str, float] | None) -> str:
    return " / ".join(map(short, percentiles.values())) if percentiles else "no answer"


def plots(figures: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """File name and SVG of each."""
    levels = [one for one in figures["levels"] if one["seconds"] and one["first_token_seconds"]]
    if not levels:
        return
    model = figures["model"]
    waits = {
        f"{name}, {share}": [(one["clients"], one[figure][share]) for one in levels]
        for name, figure in (("last token", "seconds"), ("first token", "first_token_seconds"))
        for share in ("p50", "p95")
    }
    speeds = {"requests/s": [(one["clients"], one["requests_per_second"]) for one in levels]}
    for name, label, series in (("latency", "seconds", waits), ("throughput", "", speeds)):
        title = f"Chat over HTTP: {name}, {model}"
        yield f"serve-{name}-{model}.svg", plot.lines(title, "clients", label, series)
