"""Questions on a database: `{"id": …, "question": …}` a line, a row with the SQL for each."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.evaluations.summary import BatchSummary
from core.sql.extract import extract_sql
from core.sql.runner import Runner
from core.training.prompts import PromptTemplate
from workers.asking.form import Refused, Row
from workers.ml.answering import encode_prompt
from workers.ml.generation import Completion, Request
from workers.ml.sampling import Sampling


class Questions:
    """`runner` executes what is answered; None where there is no database."""

    def __init__(
        self, tokenizer: Any, template: PromptTemplate, sampling: Sampling, runner: Runner | None
    ) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._sampling = sampling
        self._runner = runner
        self._summary = BatchSummary()

    def read(self, path: Path) -> Iterator[tuple[int, Row | Refused]]:
        return read_questions(path)

    def request(self, index: int, asked: Row) -> Request:
        prompt_ids = encode_prompt(self._tokenizer, self._template, asked)
        return Request(index, prompt_ids, self._sampling)

    def row(self, asked: Row, completions: list[Completion]) -> Row:
        return answered(asked, completions[0], self._runner)

    def count(self, row: Row) -> None:
        self._summary.add(row)

    @property
    def failed(self) -> int:
        return self._summary.failed

    def summary(self) -> dict[str, Any]:
        return self._summary.to_dict()


def read_questions(path: Path) -> Iterator[tuple[int, Row | Refused]]:
    """By line number from 0: {id, question}, or the row of a line that holds none."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        lines = (line.strip() for line in file)
        for index, line in enumerate(line for line in lines if line):
            yield index, _read(index, line)


def _read(index: int, line: str) -> Row | Refused:
    try:
        asked = json.loads(line)
        question = asked["question"].strip()
        identity = asked.get("id", index + 1)
        question.encode()  # half a surrogate is no text
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return _failed(index + 1, line[:200])
    return {"id": identity, "question": question} if question else _failed(identity, "")


def answered(asked: Row, completion: Completion, runner: Runner | None) -> Row:
    """The durable row of one question; `executes` is None without a database."""
    row: Row = {
        "id": asked["id"],
        "question": asked["question"],
        "sql": None,
        "is_query": False,
        "executes": None if runner is None else False,
        "error": None,
        "answer": completion.text,
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
        "latency_seconds": round(completion.latency_seconds, 4),
        "finish_reason": completion.finish_reason,
    }
    if completion.error is not None:
        problem = {"class": completion.error.klass, "message": completion.error.message}
        return row | {"error": problem}
    sql = extract_sql(completion.text)
    if sql is None:
        message = "the answer holds no SQL"
        return row | {"error": {"class": "not_a_query", "message": message}}
    row |= {"sql": sql, "is_query": True}
    if runner is None:
        return row
    error = runner.run(sql).error
    if error is None:
        return row | {"executes": True}
    problem = {"class": error.klass, "message": error.message}
    return row | {"is_query": error.klass != "not_a_query", "error": problem}


def _failed(identity: Any, line: str) -> Refused:
    message = 'a line must be {"id": …, "question": "…"} with a question in it'
    return Refused(
        {
            "id": identity,
            "question": line,
            "sql": None,
            "is_query": False,
            "executes": None,
            "error": {"class": "invalid_row", "message": message},
            "answer": "",
            "prompt_tokens": 0,
            "completion_tokens": 0,
            "latency_seconds": 0.0,
            "finish_reason": "error",
        }
    )
