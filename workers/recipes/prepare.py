"""A file becomes a dataset: rows are read, judged, executed, split, and written as Arrow.

Reads each file once from front to back in bounded memory. Whatever is wrong with the data is told
in the report and ends in the status `invalid`, never in a failed job.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any

from core.datasets.gathering import Gathering, NothingToRead
from core.datasets.gold import GoldChecker
from core.datasets.ledger import remarks
from core.datasets.plan import Plan, Request, make_plan, require_alike
from core.datasets.problems import Problem, Report
from core.datasets.readers import open_rows
from core.datasets.rows import Row, RowSource
from core.datasets.splits import TRAIN
from core.datasets.statistics import Statistics
from core.datasets.store import DatasetWriter, Spool
from core.datasets.tokens import TokenCounter
from core.errors import InvalidInput, JobFailure
from core.sql.target import open_target
from workers.context import Context

VALIDATION_FILE = "validation_file"
REPORT_SECONDS = 0.5


def run(ctx: Context) -> dict[str, Any]:
    """Result: status `ready` or `invalid`, kind, report, statistics, splits, content_hash."""
    try:
        request = Request.read(ctx.params)
    except InvalidInput as error:
        raise JobFailure("user", error.message) from None
    with ExitStack() as stack:
        spool = stack.enter_context(Spool(ctx.workdir / "examples.spool"))
        gathering = Gathering(spool)
        report = gathering.report
        try:
            plan, gold = _gather(ctx, request, gathering, stack)
        except InvalidInput as error:  # of a file as a whole
            report.add(Problem(error.code, error.message))
            return _result("invalid", report)
        except NothingToRead:
            return _result("invalid", report)
        ctx.check()
        splits = _decide(plan, gathering)
        ctx.check()
        if not _is_usable(request, plan, splits, report):
            return _result("invalid", report, kind=plan.kind)
        written = _write(ctx, plan, spool, splits, executed=gold and gold.executed)
    result = _result("ready", report, kind=plan.kind, dropped=request.drop_bad_rows)
    return result | written


def _gather(
    ctx: Context, request: Request, gathering: Gathering, stack: ExitStack
) -> tuple[Plan, GoldChecker | None]:
    """Take in the file, and the one with its validation rows if there is one. Raises
    `InvalidInput` or `NothingToRead` for one of which nothing can be made."""
    plan, rows = _begin(ctx, request, gathering, stack)
    gold = stack.enter_context(_gold_checker(ctx, request, plan))
    gathering.take(rows, plan, gold)
    if VALIDATION_FILE in ctx.inputs:
        second, rows = _begin(ctx, request, gathering, stack, validation=True)
        require_alike(second, plan)
        gathering.take(rows, second, gold)
    return plan, gold


def _begin(
    ctx: Context,
    request: Request,
    gathering: Gathering,
    stack: ExitStack,
    *,
    validation: bool = False,
) -> tuple[Plan, Iterator[Row]]:
    """What the rows of a file are, by its first ones; and all of them, still to be taken in."""
    gathering.begin(VALIDATION_FILE if validation else None)
    source = open_rows(
        ctx.inputs[VALIDATION_FILE if validation else "file"],
        filename=request.validation_filename if validation else request.filename,
        format=request.format,
        max_row_bytes=request.max_row_bytes,
    )
    rows = _watched(ctx, stack.enter_context(source))
    sample = gathering.sample(rows)
    plan = make_plan(request, [row.value for row in sample], validation=validation)
    return plan, chain(sample, rows)


def _watched(ctx: Context, source: RowSource) -> Iterator[Row]:
    """The rows; in between, twice a second, progress is reported and a wish to stop is heard."""
    due, number, size = 0.0, 0, max(source.size, 1)
    for number, row in enumerate(source, start=1):
        if time.monotonic() >= due:
            ctx.check()
            ctx.progress(source.position(), size, rows=number)
            due = time.monotonic() + REPORT_SECONDS
        yield row
    ctx.progress(size, size, rows=number)


@contextmanager
def _gold_checker(ctx: Context, request: Request, plan: Plan) -> Iterator[GoldChecker | None]:
    """Judges the answers where they are SQL; executes them where there is a database."""
    if plan.answers != "sql":
        yield None
        return
    with open_target(
        ctx.inputs.get("database"), ctx.secrets.get("dsn"), scratch=ctx.workdir
    ) as runner:
        yield GoldChecker(
            source=request.sql_dialect,
            target=plan.dialect,
            runner=runner,
            extract=plan.columns.kind != "sql",
            schema=plan.schema,
        )


def _decide(plan: Plan, gathering: Gathering) -> list[str | None]:
    """The split of each example, or None for those that are not kept."""
    gathering.end()
    ledger, report = gathering.ledger, gathering.report
    as_given = plan.fractions is None
    report.duplicates = ledger.drop_duplicates(as_given=as_given)
    splits = ledger.as_given() if as_given else ledger.deal(plan.fractions, plan.seed)
    report.leaks = ledger.leaks(splits, as_given=as_given)
    for code, message in remarks(report.duplicates, report.leaks):
        report.add(Problem(code, message, severity="warning"))
    return splits


def _is_usable(request: Request, plan: Plan, splits: list[str | None], report: Report) -> bool:
    """Whether what is left makes a dataset; says so in the report."""
    if report.has_errors and not request.drop_bad_rows:
        return False
    if TRAIN not in splits:
        message = "no usable example for train; one at least is right"
        report.add(Problem("no_train_rows", message))
        return False
    if missing := [name for name in plan.fractions or () if name not in splits]:
        message = f"too few different examples to fill {', '.join(missing)}; add examples"
        report.add(Problem("small_dataset", message, severity="warning"))
    return True


def _write(
    ctx: Context, plan: Plan, spool: Spool, splits: list[str | None], *, executed: int | None
) -> dict[str, Any]:
    """Write what is kept, in the order of the file; its figures."""
    counter = TokenCounter(ctx.inputs.get("token_model"))
    statistics = Statistics(counter, schema_text=plan.schema_text)
    writer = DatasetWriter(ctx.workdir / "arrow")
    place = iter(splits)
    for batch in spool.batches():
        ctx.check()
        kept = [(*entry, split) for entry, split in zip(batch, place, strict=False) if split]
        writer.add(kept)
        statistics.add(kept)
    content_hash = writer.content_hash(kind=plan.kind)
    info = {
        "kind": plan.kind,
        "answers": plan.answers,
        "dialect": plan.dialect,
        "splits": statistics.splits,
        "schema_text": plan.schema_text,
        "max_tokens": statistics.max_tokens,
        "content_hash": content_hash,
    }
    writer.save(ctx.out / "dataset", info)
    listed = ", ".join(f"{count} {name}" for name, count in statistics.splits.items())
    ctx.event(f"dataset written: {listed}")
    figures = statistics.to_dict(executed=executed) | {"columns": plan.columns.roles}
    return {"statistics": figures, "splits": statistics.splits, "content_hash": content_hash}


def _result(
    status: str, report: Report, *, kind: str | None = None, dropped: bool = False
) -> dict[str, Any]:
    return {
        "status": status,
        "kind": kind,
        "report": report.to_dict(dropped=dropped),
        "statistics": {},
        "splits": {},
        "content_hash": None,
    }
