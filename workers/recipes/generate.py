"""Generates SQL for a batch of questions: a row for each as it finishes, then `results.jsonl`."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from core.errors import JobFailure
from core.evaluations.summary import summarise_batch
from core.sql.execute import SqlRunner
from core.sql.extract import extract_sql
from workers.ml.answering import Answers, choose_template, describe, load_model
from workers.ml.generation import Completion
from workers.ml.sampling import Sampling

Row = dict[str, Any]


def run(ctx) -> dict[str, Any]:
    """Every line of the questions becomes one row; rows of earlier attempts are kept: there are
    `resumed_rows` of them, and what is said of speed is that of the others."""
    params = ctx.params
    questions, broken = read_questions(ctx.inputs["questions"])
    total = len(questions) + len(broken)
    if not total:
        raise JobFailure("data", "there are no questions; give at least one line")
    rows: dict[int, Row] = dict(ctx.previous_rows())
    resumed = len(rows)
    for index, row in broken.items():
        if index not in rows:
            rows[index] = row
            ctx.row(index, row)

    loaded = load_model(
        ctx.inputs,
        quantization=params["quantization"],
        precision=params["precision"],
        device=ctx.device,
    )
    ctx.check()
    template = choose_template(
        ctx.inputs,
        style=params.get("prompt", "auto"),
        kind="sql",
        schema_text=params.get("schema_text"),
        dialect=params.get("dialect") or "sqlite",
    )
    ctx.event(
        f"{total - len(rows)} questions to ask, {len(rows)} done already",
        **describe(loaded, template),
    )

    with ExitStack() as stack:
        runner = None
        if "database" in ctx.inputs:
            runner = stack.enter_context(SqlRunner(ctx.inputs["database"], scratch=ctx.workdir))
        answers = Answers(
            loaded,
            template,
            Sampling(max_new_tokens=params["max_new_tokens"], sql=template.style != "chat"),
            tell=ctx.event,
        )
        waiting = {index: asked for index, asked in questions.items() if index not in rows}
        for completion in answers.of(waiting, on_step=ctx.check):
            row = answered(waiting[completion.id], completion, runner)
            rows[completion.id] = row
            ctx.row(completion.id, row)
            report(ctx, len(rows), total, answers)

    ordered = [rows[index] for index in sorted(rows)]
    write_results(ctx.out / "results.jsonl", ordered)
    return {
        **summarise_batch(ordered),
        **answers.figures(),
        **describe(loaded, template),
        "resumed_rows": resumed,
    }


def read_questions(path: Path) -> tuple[dict[int, Row], dict[int, Row]]:
    """By line number from 0: questions {id, question}, and rows of lines that hold none."""
    questions: dict[int, Row] = {}
    broken: dict[int, Row] = {}
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        lines = [line.strip() for line in file]
    for index, line in enumerate(line for line in lines if line):
        try:
            asked = json.loads(line)
            question = asked["question"].strip()
            identity = asked.get("id", index + 1)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            broken[index] = _failed(index + 1, line[:200])
            continue
        if question:
            questions[index] = {"id": identity, "question": question}
        else:
            broken[index] = _failed(identity, "")
    return questions, broken


def answered(asked: Row, completion: Completion, runner: SqlRunner | None) -> Row:
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
        return row | {"error": {"class": "prompt_too_long", "message": completion.error}}
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


def report(ctx, done: int, total: int, answers: Answers) -> None:
    speed = answers.figures()["requests_per_second"]
    ctx.progress(
        done,
        total,
        requests_per_second=speed,
        eta_seconds=round((total - done) / speed, 1) if speed else None,
    )


def write_results(path: Path, rows: list[Row]) -> None:
    """All rows in the order of the questions, one JSON object a line."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _failed(identity: Any, line: str) -> Row:
    message = 'a line must be {"id": …, "question": "…"} with a question in it'
    return {
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
