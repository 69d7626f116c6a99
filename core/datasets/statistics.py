"""Figures of a finished dataset: rows, languages, SQL and lengths. Decides nothing.

examples    n
splits      {split: n}
languages   {split: {"cjk": n, "other": n}}, by whether a question has CJK characters
sql         {"distinct": n, "patterns": n, "hardness": {"easy": n, …}, "executed": n} or null
lengths     {"unit": "tokens" | "characters",
             "question" | "answer" | "example" (question and answer) | "prompt" (schema,
             earlier messages, question and answer; without the chat template's few tokens):
             {"min", "median", "p95", "max"}, "over_2048": examples whose `prompt` is longer}
"""

import re
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from core.datasets.examples import NO_CONTEXT, Example, Kept
from core.datasets.ledger import digest
from core.datasets.tokens import TokenCounter

LONG = 2048
_CJK = re.compile(
    "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"
)
_PARTS = ("question", "answer", "example", "prompt")


class Statistics:
    """Fed the kept examples in batches."""

    def __init__(self, counter: TokenCounter, *, schema_text: str | None = None) -> None:
        self.counter = counter
        self._schema_length = counter.count([schema_text])[0] if schema_text else 0
        self._splits: Counter[str] = Counter()
        self._languages: dict[str, Counter[str]] = {}
        self._lengths = {part: array("I") for part in _PARTS}
        self._answers: set[int] = set()
        self._patterns: set[int] = set()
        self._hardness: Counter[str] = Counter()

    def add(self, kept: Sequence[Kept]) -> None:
        """Count a batch."""
        for example, sql, split in kept:
            self._splits[split] += 1
            language = "cjk" if _CJK.search(example.question + example.input) else "other"
            self._languages.setdefault(split, Counter(cjk=0, other=0))[language] += 1
            if sql is not None:
                self._add_sql(*sql)
        self._add_lengths([example for example, _, _ in kept])

    def _add_lengths(self, examples: Sequence[Example]) -> None:
        asked = self.counter.count([f"{one.question}\n{one.input}".strip() for one in examples])
        answers = self.counter.count([one.answer for one in examples])
        earlier = [0] * len(examples)
        if any(one.context != NO_CONTEXT for one in examples):
            earlier = self.counter.count([one.context for one in examples])
        for question, answer, context in zip(asked, answers, earlier, strict=True):
            self._lengths["question"].append(question)
            self._lengths["answer"].append(answer)
            self._lengths["example"].append(question + answer)
            self._lengths["prompt"].append(self._schema_length + context + question + answer)

    def _add_sql(self, normal: str, pattern: str, hardness: str) -> None:
        self._answers.add(digest(normal))
        if pattern:
            self._patterns.add(digest(pattern))
        self._hardness[hardness or "unknown"] += 1

    @property
    def splits(self) -> dict[str, int]:
        return dict(self._splits)

    @property
    def max_tokens(self) -> int | None:
        """The longest example with its schema, in tokens."""
        known = self.counter.unit == "tokens" and len(self._lengths["prompt"])
        return max(self._lengths["prompt"]) if known else None

    def to_dict(self, *, executed: int | None) -> dict[str, Any]:
        """The figures as JSON. `executed`: SQL statements that ran; None: answers are no SQL."""
        sql = None
        if executed is not None:
            sql = {
                "distinct": len(self._answers),
                "patterns": len(self._patterns),
                "hardness": dict(self._hardness),
                "executed": executed,
            }
        return {
            "examples": self._splits.total(),
            "splits": self.splits,
            "languages": {split: dict(count) for split, count in self._languages.items()},
            "sql": sql,
            "lengths": self._length_figures(),
        }

    def _length_figures(self) -> dict[str, Any]:
        figures: dict[str, Any] = {"unit": self.counter.unit}
        for part, lengths in self._lengths.items():
            values = np.asarray(lengths)
            if len(values):
                figures[part] = {
                    "min": int(values.min()),
                    "median": int(np.percentile(values, 50, method="lower")),
                    "p95": int(np.percentile(values, 95, method="higher")),
                    "max": int(values.max()),
                }
        if self.counter.unit == "tokens":
            figures["over_2048"] = int((np.asarray(self._lengths["prompt"]) > LONG).sum())
        return figures
