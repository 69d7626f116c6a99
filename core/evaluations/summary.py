"""The figures of an evaluation or a batch, from its rows alone. Pure arithmetic: runs nothing."""

import math
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Two-sided 95 % of the normal distribution.
Z = 1.959963984540054
HARDNESS = ("easy", "medium", "hard", "extra")
CJK = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002ebef]")
ERRORS_SHOWN = 20
ERRORS_SHOWN_PER_CLASS = 3

Row = Mapping[str, Any]


def wilson(correct: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927): sensible at 0, at 1 and for few examples."""
    if total == 0:
        return 0.0, 1.0
    share = correct / total
    spread = Z * math.sqrt(share * (1 - share) / total + Z**2 / (4 * total**2))
    middle, scale = share + Z**2 / (2 * total), 1 + Z**2 / total
    low = 0.0 if correct == 0 else (middle - spread) / scale
    high = 1.0 if correct == total else (middle + spread) / scale
    return low, high


def share(flags: Iterable[bool]) -> dict[str, Any]:
    """{value, low, high, correct, total} of a run of yes and no; value 0 of nothing."""
    flags = list(flags)
    correct, total = sum(flags), len(flags)
    low, high = wilson(correct, total)
    value = correct / total if total else 0.0
    return {
        "value": round(value, 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "correct": correct,
        "total": total,
    }


def language(question: str) -> str:
    """`zh` when the question has a Chinese character, else `en`."""
    return "zh" if CJK.search(question) else "en"


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """The result of an evaluation.

    A row has `correct`, `exact_match`, `question`, `language`, `error_class`, `message`,
    `latency_seconds`, `gold`, `prediction`, and for SQL `is_query`, `executes`, `hardness`.
    Where nothing was executed (`executes` is None) there is no execution accuracy.
    """
    executed = any(row.get("executes") is not None for row in rows)
    queries = any(row.get("is_query") is not None for row in rows)
    return {
        "examples": len(rows),
        "accuracy": share(row["correct"] for row in rows),
        "execution_accuracy": share(row["correct"] for row in rows) if executed else None,
        "exact_match": share(row["exact_match"] for row in rows),
        "by_hardness": breakdown(rows, "hardness", order=HARDNESS),
        "by_language": breakdown(rows, "language"),
        "not_a_query": _part(rows, lambda row: not row["is_query"]) if queries else None,
        "invalid_sql": _part(rows, _invalid) if queries else None,
        "errors": dict(Counter(row["error_class"] for row in rows if row["error_class"])),
        "latency_seconds": percentiles([row["latency_seconds"] for row in rows]),
        "error_samples": error_samples(rows),
    }


def breakdown(rows: Sequence[Row], key: str, *, order: Sequence[str] = ()) -> dict[str, Any]:
    """The share of correct rows for each value of `key`, in the given order."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        if row.get(key) is not None:
            groups[row[key]].append(row["correct"])
    names = [name for name in order if name in groups]
    names += sorted(name for name in groups if name not in order)
    return {name: share(groups[name]) for name in names}


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Mean, median, 90th, 95th percentile and maximum (nearest rank), in seconds."""
    if not seconds:
        return {}
    ordered = sorted(seconds)

    def rank(share: float) -> float:
        return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 4)

    mean = round(sum(ordered) / len(ordered), 4)
    return {"mean": mean, "p50": rank(0.5), "p90": rank(0.9), "p95": rank(0.95), "max": rank(1)}


def error_samples(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """A few wrong rows of every class, at most ERRORS_SHOWN."""
    taken: Counter[str] = Counter()
    samples = []
    for row in rows:
        klass = row["error_class"]
        if klass and taken[klass] < ERRORS_SHOWN_PER_CLASS and len(samples) < ERRORS_SHOWN:
            taken[klass] += 1
            keys = ("line", "question", "gold", "prediction", "error_class", "message")
            samples.append({key: row.get(key) for key in keys})
    return samples


class BatchSummary:
    """The result of a batch: how many rows are queries, run, or failed, and why. Takes them one by
    one and keeps none.

    A row has `is_query`, `executes` (None where there is no database) and `error` {class, message}.
    """

    def __init__(self) -> None:
        self._rows = self._queries = self._checked = self._executed = 0
        self._prompt_tokens = self._completion_tokens = 0
        self._errors: Counter[str] = Counter()
        self._seconds = array("d")

    def add(self, row: Row) -> None:
        self._rows += 1
        self._queries += bool(row["is_query"])
        self._checked += row["executes"] is not None
        self._executed += bool(row["executes"])
        self._prompt_tokens += row["prompt_tokens"]
        self._completion_tokens += row["completion_tokens"]
        self._seconds.append(row["latency_seconds"])
        if row["error"]:
            self._errors[row["error"]["class"]] += 1

    @property
    def failed(self) -> int:
        return self._errors.total()

    def to_dict(self) -> dict[str, Any]:
        checked = self._checked > 0
        valid, of = (self._executed, self._checked) if checked else (self._queries, self._rows)
        return {
            "rows": self._rows,
            "queries": self._queries,
            "executed": self._executed if checked else None,
            "valid_share": round(valid / of, 4) if of else 0.0,
            "errors": dict(self._errors),
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._completion_tokens,
            "latency_seconds": percentiles(self._seconds),
        }


def _invalid(row: Row) -> bool:
    """No query, or one that does not execute (unknown without a database: then it counts as one
    only if it is no query)."""
    return not row["is_query"] or row["executes"] is False


def _part(rows: Sequence[Row], test) -> float:
    return round(sum(map(test, rows)) / len(rows), 4) if rows else 0.0
