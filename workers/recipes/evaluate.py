"""Evaluates a model on a split: asks every question, executes the answers, compares the results."""

import random
from contextlib import ExitStack
from typing import Any

from core.evaluations.summary import language, summarise
from core.sql.extract import extract_sql
from core.sql.hardness import hardness
from core.sql.judge import judge
from core.sql.normalise import normalise
from core.sql.runner import Runner
from core.sql.target import open_target
from workers.ml.answering import (
    Answers,
    choose_template,
    describe,
    encode_prompt,
    load_model,
)
from workers.ml.examples import read_dataset
from workers.ml.generation import Completion, Problem, Request
from workers.ml.sampling import Sampling

Row = dict[str, Any]


def run(ctx) -> dict[str, Any]:
    """A durable row for every example, and their summary. Rows of earlier attempts are kept: there
    are `resumed_rows` of them, and what is said of speed is that of the others."""
    params = ctx.params
    dataset = read_dataset(ctx.inputs["dataset"])
    split = dataset.splits[params["split"]]
    chosen = sample(len(split), params.get("limit"), params.get("seed", 0))
    wanted = set(chosen)
    rows: dict[int, Row] = {index: row for index, row in ctx.previous_rows() if index in wanted}
    resumed = len(rows)
    kind = params.get("kind") or dataset.kind
    dialect = params.get("dialect") or dataset.dialect or "sqlite"

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
        kind=kind,
        schema_text=params.get("schema_text") or dataset.schema_text,
        dialect=dialect,
    )
    ctx.event(
        f"{len(chosen) - resumed} questions to ask, {resumed} answered already",
        **describe(loaded, template),
    )

    with ExitStack() as stack:
        runner = None
        if kind == "sql":
            target = open_target(
                ctx.inputs.get("database"), ctx.secrets.get("dsn"), scratch=ctx.workdir
            )
            runner = stack.enter_context(target)
        answers = Answers(loaded, tell=ctx.event)
        sampling = Sampling(max_new_tokens=params["max_new_tokens"], sql=kind == "sql")
        waiting = {index: split[index] for index in chosen if index not in rows}
        requests = (
            Request(index, encode_prompt(loaded.tokenizer, template, example), sampling)
            for index, example in waiting.items()
        )
        correct = sum(row["correct"] for row in rows.values())
        for completion in answers.of(requests, on_step=ctx.check):
            example = waiting[completion.id]
            row = verdict(example, completion, kind=kind, dialect=dialect, runner=runner)
            rows[completion.id] = row
            ctx.row(completion.id, row)
            correct += row["correct"]
            report(ctx, correct, len(rows), len(chosen), answers)

    return {
        **summarise([rows[index] for index in sorted(rows)]),
        **answers.figures(),
        **describe(loaded, template),
        "split": params["split"],
        "resumed_rows": resumed,
    }


def sample(count: int, limit: int | None, seed: int) -> list[int]:
    """All row numbers of a split, or `limit` of them, the same ones for the same seed."""
    if limit is None or limit >= count:
        return list(range(count))
    return sorted(random.Random(seed).sample(range(count), limit))


def verdict(
    example: Row, completion: Completion, *, kind: str, dialect: str, runner: Runner | None
) -> Row:
    """The durable row of one example."""
    row: Row = {
        "line": example["line"],
        "question": example["question"],
        "language": language(example["question"]),
        "gold": example["answer"],
        "prediction": completion.text,
        "answer": completion.text,
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
        "latency_seconds": round(completion.latency_seconds, 4),
        "finish_reason": completion.finish_reason,
    }
    if completion.error is not None:
        row |= _unanswered(completion.error, is_sql=kind == "sql", executed=runner is not None)
    elif kind != "sql":
        row |= _by_text(example["answer"], completion.text)
    elif runner is None:
        row |= _by_normal_form(example["answer"], completion.text, dialect)
    else:
        row |= _by_execution(runner, example["answer"], completion.text, dialect)
    return row


def report(ctx, correct: int, done: int, total: int, answers: Answers) -> None:
    speed = answers.figures()["requests_per_second"]
    ctx.progress(
        done,
        total,
        requests_per_second=speed,
        accuracy=round(correct / done, 4),
        eta_seconds=round((total - done) / speed, 1) if speed else None,
    )


def _by_execution(runner: Runner, gold: str, answer: str, dialect: str) -> Row:
    judged = judge(runner, gold_sql=gold, answer=answer, dialect=dialect)
    return {
        "prediction": judged.sql,
        "correct": judged.correct,
        "exact_match": judged.exact_match,
        "is_query": judged.is_query,
        "executes": judged.executes,
        "hardness": judged.hardness,
        "error_class": judged.error_class,
        "message": judged.message,
    }


def _by_normal_form(gold: str, answer: str, dialect: str) -> Row:
    """Without a database nothing is executed: equal after normalisation is correct."""
    sql = extract_sql(answer)
    found = normalise(sql, dialect) if sql else None
    if normalise(gold, dialect) is None:  # an answer with SQL in it
        gold = extract_sql(gold) or gold
    equal = found is not None and found == normalise(gold, dialect)
    klass, message = ("wrong_rows", "differs from the gold; there is no database to run both on")
    if sql is None:
        klass, message = "not_a_query", "the answer holds no SQL"
    return {
        "prediction": sql,
        "correct": equal,
        "exact_match": equal,
        "is_query": sql is not None,
        "executes": None,
        "hardness": hardness(gold, dialect),
        "error_class": None if equal else klass,
        "message": "" if equal else message,
    }


def _by_text(gold: str, answer: str) -> Row:
    equal = gold.strip() == answer.strip()
    return {
        "correct": equal,
        "exact_match": equal,
        "is_query": None,
        "executes": None,
        "hardness": None,
        "error_class": None if equal else "wrong_answer",
        "message": "" if equal else "differs from the expected answer",
    }


def _unanswered(error: Problem, *, is_sql: bool, executed: bool) -> Row:
    """There is no answer at all: wrong, and of a class of its own."""
    return {
        "prediction": None,
        "correct": False,
        "exact_match": False,
        "is_query": False if is_sql else None,
        "executes": False if executed else None,
        "hardness": None,
        "error_class": error.klass,
        "message": error.message,
    }
