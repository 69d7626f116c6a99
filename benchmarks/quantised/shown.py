"""The ways of answering in 8 bit, as a table."""

from typing import Any

from benchmarks.comparison import markdown, short

MEBIBYTE = 1 << 20
ABOUT = """\
GeoQuery's test questions, the schema in the prompt, greedy, the adapter of goals 5 to 7 (1.5
epochs) live on an 8-bit base: `python -m benchmarks.quantised`. `dequantised` is what the engine
does: weights as they were trained with, activations as they come. `int8` are bitsandbytes' own
products, which quantise activations too, with and without columns above the threshold apart.
`merged` is the fast path: adapter and base as one, not quantised. `alone` asks one question at a
time. Answers are compared to the last token."""
# With whose answers those of each way are compared.
LIKE = ("not-quantised", "dequantised-alone", "transformers-alone")
HEAD = ("computed", "requests/s", "dequantised over it", "spread", "weights, MiB", "peak, MiB")


def table(figures: dict[str, Any]) -> str:
    """A line for each way; answers are equal where all tokens are."""
    rows = [(*HEAD, "right", "invalid SQL", *(f"as {name}" for name in LIKE))]
    for row in figures["comparisons"]:
        way = row["peer"]
        rows.append((way, *_costs(figures, row), *_answers(figures["answers"][way])))
    return markdown(rows)


def _costs(figures: dict[str, Any], row: dict[str, Any]) -> tuple[str, ...]:
    ratio, turns = row["ratio"], figures["rounds"][row["peer"]]
    weights = figures["about"][row["peer"]].get("weight_bytes")
    peaks = [turn["peak_bytes"] for turn in turns if "peak_bytes" in turn]
    return (
        short(row["peer_value"]),
        f"**{short(ratio['median'])}**",
        f"{short(ratio['lowest'])} to {short(ratio['highest'])} ({row['rounds']})",
        short(weights / MEBIBYTE) if weights else "",
        short(max(peaks) / MEBIBYTE) if peaks else "",
    )


def _answers(said: dict[str, Any]) -> tuple[str, ...]:
    asked = said["asked"]
    same = (said["equal"][other] for other in LIKE)
    return (
        f"{said['right'] / asked:.1%} of {asked}",
        f"{said['invalid'] / asked:.1%}",
        *(f"{one['equal'] / one['of']:.1%} of {one['of']}" for one in same),
    )


def section(figures: dict[str, Any]) -> str:
    return f"{figures['model']}, {figures['dtype']}:\n\n{table(figures)}"
