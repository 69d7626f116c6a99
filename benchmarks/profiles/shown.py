"""Where the time goes, as a table."""

from statistics import median
from typing import Any

from benchmarks.comparison import markdown, short
from benchmarks.profiles.kinds import KINDS

ABOUT = """\
A step of 16 examples with a LoRA on all layers (goals 1 to 3), and a batch of 64 questions over one
adapter and over 16, with their prefixes warm (goal 8), by torch's profiler:
`python -m benchmarks.profiles`. Of a batch every eighth step of the engine is profiled. Seconds are
those without and with the profiler, which takes time itself, with small calls most. Shares are
medians of the rounds'. `rest` is what stands between (rotation, gate, sums, copies, a batch's norms
and choice of tokens) and Python."""


def table(figures: dict[str, Any]) -> str:
    rows = [("work", "seconds", "profiled", *KINDS)]
    for heat in figures["rounds"].values():
        for work, rounds in heat.items():
            seconds = [
                median(turn[name] for turn in rounds) for name in ("plain_seconds", "seconds")
            ]
            shares = [median(turn[kind] / turn["seconds"] for turn in rounds) for kind in KINDS]
            told = [f"{share:.0%}" if share > 0 else "" for share in shares]
            rows.append((f"{work} ({len(rounds)})", *map(short, seconds), *told))
    return markdown(rows)


def section(figures: dict[str, Any]) -> str:
    return f"{figures['model']}, {figures['dtype']}:\n\n{table(figures)}"
