"""What was tried, as a table."""

from typing import Any

from benchmarks.comparison import markdown, short

# What became of it, in a word; the reasons stand in docs/decisions.md.
KEPT = {
    "two-thirds-kept": "yes, where memory has room",
    "not-quantised": "`quantization: none`",
    "4bit": "`quantization: 4bit`",
    "fp32": "`precision: fp32`",
}
HEAD = (
    "tried",
    "against",
    "examples/s",
    "of those",
    "ratio",
    "spread",
    "weights, MiB",
    "peak, MiB",
)
MEBIBYTE = 1 << 20
ABOUT = """\
Optimizer steps of 16 examples in 8 bit with a LoRA on all layers (goals 1 to 3), in turns with the
same step with one thing otherwise: `python -m benchmarks.tried`. The peak is that of the process,
loading included. `two-thirds` is what `lora.layers: auto` adapts on a CPU, and `two-thirds-kept`
has what comes out of the layers below, computed once for all epochs. `fp32` is tried where the CPU
computes in bf16."""


def table(figures: dict[str, Any]) -> str:
    rows = [(*HEAD, "kept")]
    for row in figures["comparisons"]:
        way, ratio = row["ours"], row["ratio"]
        weights = figures["about"][way]["weight_bytes"] / MEBIBYTE
        rows.append(
            (
                way,
                row["peer"],
                short(row["ours_value"]),
                short(row["peer_value"]),
                f"**{short(ratio['median'])}**",
                f"{short(ratio['lowest'])} to {short(ratio['highest'])} ({row['rounds']})",
                short(weights),
                short(peak(figures, way) / MEBIBYTE),
                KEPT.get(way, "no"),
            )
        )
    return markdown(rows)


def peak(figures: dict[str, Any], way: str) -> float:
    """Resident memory at most, all its rounds."""
    rounds = [heat[way] for heat in figures["rounds"].values() if way in heat]
    return max(turn["peak_bytes"] for one in rounds for turn in one)


def section(figures: dict[str, Any]) -> str:
    missing = ", ".join(figures["without"])
    left = f" Not tried on that machine: {missing}." if missing else ""
    return f"{figures['model']}, {figures['dtype']}.{left}\n\n{table(figures)}"
