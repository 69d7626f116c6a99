"""Answers a batch: a row for each line as it finishes; in memory are those in flight alone.

Our questions end in `results.jsonl`. What OpenAI's lines end in is made of their rows by the
keeper, who has them whatever becomes of this attempt.
"""

from contextlib import ExitStack
from typing import Any

from core.errors import JobFailure
from core.sql.runner import Runner
from core.sql.target import open_target
from core.training.prompts import PromptTemplate
from workers.asking.batch import Batch
from workers.asking.form import Form, count_lines
from workers.asking.lines import ChatLines, SqlLines
from workers.asking.questions import Questions
from workers.asking.spool import Spool
from workers.ml.answering import Answers, choose_template, describe, load_model
from workers.ml.sampling import Sampling


def run(ctx) -> dict[str, Any]:
    """Every line becomes one row; rows of earlier attempts are kept: there are `resumed_rows` of
    them, and what is said of speed is that of the others."""
    params = ctx.params
    total = count_lines(ctx.inputs["questions"])
    if not total:
        raise JobFailure("data", "there are no questions; give at least one line")
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
        kind="chat" if params.get("endpoint") == ChatLines.endpoint else "sql",
        schema_text=params.get("schema_text"),
        dialect=params.get("dialect") or "sqlite",
    )
    with ExitStack() as stack:
        target = open_target(
            ctx.inputs.get("database"), ctx.secrets.get("dsn"), scratch=ctx.workdir
        )
        runner = stack.enter_context(target)
        form = choose_form(params, loaded.tokenizer, template, runner)
        spool = None if params.get("endpoint") else Spool(ctx.workdir / "rows.spool")
        batch = Batch(ctx, form, total, spool=spool)
        ctx.event(
            f"{total - batch.done} questions to ask, {batch.done} done already",
            **describe(loaded, template),
        )
        answers = Answers(loaded, tell=ctx.event)
        for completion in answers.of(batch.requests(), on_step=ctx.check):
            batch.take(completion)
            batch.report(answers.figures()["requests_per_second"])

    if spool is not None:
        spool.write(ctx.out / "results.jsonl")
    return {
        **form.summary(),
        **answers.figures(),
        **describe(loaded, template),
        "resumed_rows": batch.resumed,
    }


def choose_form(
    params: dict[str, Any], tokenizer: Any, template: PromptTemplate, runner: Runner | None
) -> Form:
    """What the lines are and how they are asked: our questions where no endpoint is named."""
    endpoint = params.get("endpoint")
    if endpoint == ChatLines.endpoint:
        return ChatLines(tokenizer, template, model=params["model"])
    if endpoint == SqlLines.endpoint:
        return SqlLines(tokenizer, template, runner, model=params["model"])
    sampling = Sampling(max_new_tokens=params["max_new_tokens"], sql=template.style != "chat")
    return Questions(tokenizer, template, sampling, runner)
