"""The accuracies and their differences as Markdown."""

from typing import Any

from benchmarks.comparison import markdown


def table(figures: dict[str, Any]) -> str:
    rows = [("model", "computed in", "accuracy", "each seed", "invalid SQL")]
    for one in figures["accuracies"]:
        seeds = ", ".join(f"{value:.1%}" for value in one["seeds"])
        shares = (f"**{one['value']:.1%}**", seeds, f"{one['invalid_sql']:.1%}")
        rows.append((one["method"], one["precision"], *shares))
    gaps = [("ours", "less", "seeds", "points", "95 % interval")]
    for one in figures["differences"]:
        value, low, high = (f"{100 * one[key]:+.1f}" for key in ("value", "low", "high"))
        seeds = ", ".join(map(str, one["seeds"]))
        gaps.append((one["ours"], one["peer"], seeds, value, f"{low} to {high}"))
    return "\n\n".join(markdown(one) for one in (rows, gaps) if len(one) > 1)
