"""A row becomes examples, by the kind and the columns of its file. Knows no SQL."""

import json
from collections.abc import Mapping
from typing import Any

from core.datasets.chat import conversation_examples
from core.datasets.columns import Columns
from core.datasets.examples import Example, Findings
from core.datasets.problems import shown, step
from core.datasets.splits import SPLIT_ADVICE, read_split_name


def to_examples(
    line: int, value: Mapping[str, Any], columns: Columns, *, split: str | None = None
) -> list[Example]:
    """The examples of one row: one, or of a conversation one for each assistant turn to learn.
    `split` is theirs where no column says it.

    Raises `BadRow` with all that is wrong with the row.
    """
    findings = Findings(line)
    if "split" in columns.roles:
        split = _split(value, columns.roles["split"], findings)
    if columns.kind == "chat":
        return conversation_examples(value, columns.roles["messages"], split, findings)
    example = _pair(value, columns, split, findings)
    findings.check()
    return [example]


def answer_path(example: Example, columns: Columns) -> str:
    """Where in its row the answer of an example stands."""
    if columns.kind == "chat":
        turn = len(json.loads(example.context)) + 1  # behind the context and the question
        return step(step(step("$", columns.roles["messages"]), turn), "content")
    return step("$", columns.roles["sql" if columns.kind == "sql" else "output"])


def _pair(
    value: Mapping[str, Any], columns: Columns, split: str | None, findings: Findings
) -> Example:
    asked, answered = ("question", "sql") if columns.kind == "sql" else ("instruction", "output")
    question = _field(value, columns.roles[asked], findings)
    answer = _field(value, columns.roles[answered], findings)
    more = ""
    if (extra := columns.roles.get("input")) and value.get(extra) is not None:
        more = findings.text(value[extra], step("$", extra), optional=True)
    if columns.kind == "sql":  # space around a query means nothing, and would hide duplicates
        question, answer = question.strip(), answer.strip()
    return Example(findings.line, question, more, answer, split=split)


def _field(value: Mapping[str, Any], column: str, findings: Findings) -> str:
    path = step("$", column)
    if column in value:
        return findings.text(value[column], path)
    found = ", ".join(shown(name) for name in list(value)[:10]) or "no keys"
    findings.add("missing_field", path, f"{shown(column)} is missing (found {found}); add it")
    return ""


def _split(value: Mapping[str, Any], column: str, findings: Findings) -> str | None:
    name = read_split_name(value.get(column))
    if name is None:
        message = f"{shown(value.get(column))} is no split; {SPLIT_ADVICE}"
        findings.add("bad_split", step("$", column), message)
    return name
