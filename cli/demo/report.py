"""The demo's figures: the JSON report and the tables. Knows the shapes of the API's results."""

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

STAGES = (
    ("base", "base model, zero-shot"),
    ("tuned", "tuned adapter, 8 bit"),
    ("adapter_fp32", "tuned adapter, fp32"),
    ("merged", "merged model, fp32"),
    ("patterns", "tuned, unseen patterns"),
)
LANGUAGES = (("en", "English"), ("zh", "Chinese"))


def figures(results: dict[str, Any], *, model: str, total_seconds: float) -> dict[str, Any]:
    """The report: every figure as the platform measured it."""
    train, generate = results["train"], results["generate"]
    return {
        "base_accuracy": accuracy(results["base"]),
        "tuned_accuracy": accuracy(results["tuned"]),
        "adapter_fp32_accuracy": accuracy(results["adapter_fp32"]),
        "merged_accuracy": accuracy(results["merged"]),
        "unseen_patterns_accuracy": accuracy(results.get("patterns")),
        "base_invalid_sql": results["base"]["invalid_sql"],
        "tuned_invalid_sql": results["tuned"]["invalid_sql"],
        "test_examples": results["tuned"]["execution_accuracy"]["total"],
        "by_language": by_language(results["tuned"]),
        "unseen_patterns_by_language": by_language(results.get("patterns")),
        "correct": {
            name: results[name]["execution_accuracy"]["correct"]
            for name, _ in STAGES
            if name in results
        },
        "install_seconds": install_seconds(),
        "train_seconds": train["train_seconds"],
        "train_examples_per_second": train["examples_per_second"],
        "generate_requests_per_second": generate["requests_per_second"],
        "total_seconds": round(total_seconds, 1),
        "model": model,
        "quantization": train["resolved"]["quantization"],
        "quantized_layers": train["quantized_layers"],
    }


def accuracy(result: dict[str, Any] | None) -> float | None:
    return None if result is None else result["execution_accuracy"]["value"]


def by_language(result: dict[str, Any] | None) -> dict[str, float] | None:
    if result is None:
        return None
    return {name: share["value"] for name, share in result["by_language"].items()}


def write(path: Path, report: dict[str, Any]) -> None:
    path.write_text(json.dumps(report, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def show(console: Console, results: dict[str, Any], report: dict[str, Any]) -> None:
    console.rule("What came of it")
    console.print(_accuracy_table(results))
    console.print(_hardness_table(results))
    console.print(_cost_table(report))
    _show_samples(console, results["samples"])
    _show_errors(console, results["wrong"])


def show_places(console: Console, connection: dict[str, Any], *, keep: bool) -> None:
    console.print("\n[bold]The figures[/] are in demo-report.json.")
    if not keep:
        console.print("KEEP=1 leaves the platform running after the demo.")
        return
    console.print(f"  API     {connection['base_url']}/v1   (try {connection['base_url']}/docs)")
    console.print(f"  Flower  {connection['flower_url']}   (user {connection['flower_user']})")
    console.print(f"  Stop it with: kill {connection['pids'].get('up', '<pid of up>')}")


def _accuracy_table(results: dict[str, Any]) -> Table:
    table = Table(title="Execution accuracy (95 % interval)")
    for column in ("", "right", "accuracy", *(name for _, name in LANGUAGES), "invalid SQL"):
        table.add_column(column, justify="left" if column == "" else "right")
    for name, title in STAGES:
        if name not in results:
            continue
        result = results[name]
        share = result["execution_accuracy"]
        languages = [_share(result["by_language"].get(code)) for code, _ in LANGUAGES]
        interval = f"{share['value']:.1%} ({share['low']:.0%}–{share['high']:.0%})"
        right = f"{share['correct']}/{share['total']}"
        table.add_row(title, right, interval, *languages, f"{result['invalid_sql']:.1%}")
    return table


def _hardness_table(results: dict[str, Any]) -> Table:
    levels = ("easy", "medium", "hard", "extra")
    table = Table(title="By hardness (Spider's rules)")
    table.add_column("")
    for level in levels:
        table.add_column(level, justify="right")
    for name, title in STAGES:
        if name in results:
            shares = results[name]["by_hardness"]
            table.add_row(title, *(_share(shares.get(level)) for level in levels))
    return table


def _share(share: dict[str, Any] | None) -> str:
    return "–" if not share else f"{share['value']:.0%} of {share['total']}"


def _cost_table(report: dict[str, Any]) -> Table:
    table = Table(title="What it took", show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    installed = report["install_seconds"]
    table.add_row("installation", "not noted" if installed is None else f"{installed:.0f} s")
    table.add_row("training", f"{report['train_seconds']:.0f} s")
    table.add_row("training speed", f"{report['train_examples_per_second']:.1f} examples/s")
    table.add_row("generation", f"{report['generate_requests_per_second']:.1f} requests/s")
    table.add_row("the whole demo", f"{report['total_seconds']:.0f} s")
    return table


def _show_samples(console: Console, samples: list[tuple[dict[str, Any], list]]) -> None:
    console.print("\n[bold]Answers of the tuned model, executed[/]")
    for answer, rows in samples:
        first = rows[0] if rows else "no rows"
        console.print(f"  {answer['question']}", markup=False, style="cyan")
        console.print(f"    {answer['sql']}", markup=False)
        console.print(f"    → {first}   ({len(rows)} rows)", markup=False)


def _show_errors(console: Console, wrong: list[dict[str, Any]]) -> None:
    console.print(f"\n[bold]Errors that remain on unseen values: {len(wrong)}[/]")
    by_class: dict[str, list[dict[str, Any]]] = {}
    for row in wrong:
        by_class.setdefault(row["error_class"] or "other", []).append(row)
    for klass, rows in sorted(by_class.items()):
        console.print(f"  {klass}: {len(rows)}")
        console.print(f"    {rows[0]['question']}", markup=False)
        console.print(f"      wanted {rows[0]['gold']}", markup=False)
        console.print(f"      got    {rows[0]['prediction']}", markup=False)


def install_seconds() -> float | None:
    """What `make setup` noted of its own time, beside the interpreter that runs this."""
    note = Path(sys.prefix) / "install_seconds"
    try:
        return float(note.read_text())
    except (OSError, ValueError):
        return None
