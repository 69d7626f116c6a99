"""Is a model's answer right? Puts extraction, execution and comparison together; trains nothing."""

import math
from dataclasses import asdict, dataclass
from functools import lru_cache

from core.sql.compare import compare_results, is_ordered, tie_groups
from core.sql.errors import GOLD_FAILS, SqlError
from core.sql.extract import extract_sql
from core.sql.hardness import hardness
from core.sql.normalise import normalise
from core.sql.parse import parse_query
from core.sql.runner import Outcome, Runner

_SHOWN_ROWS, _SHOWN_CHARACTERS = 5, 200


@dataclass(frozen=True)
class Verdict:
    """What came of one answer. `to_dict()` is plain JSON.

    `correct`: its result is the gold's. `executes`: it ran within the limits. `error_class` is one
    of ERROR_CLASSES, or "gold_fails" (then nothing is known of the answer's correctness, and it
    does not count as correct); None if correct. `rows`, `gold_rows`: the first few.
    """

    correct: bool
    sql: str | None
    is_query: bool
    executes: bool
    exact_match: bool
    error_class: str | None
    message: str
    hardness: str
    gold_executes: bool
    seconds: float
    columns: tuple[str, ...]
    rows: tuple[tuple, ...]
    row_count: int
    gold_rows: tuple[tuple, ...]
    gold_row_count: int

    def to_dict(self) -> dict:
        data = asdict(self)
        for name in ("columns", "rows", "gold_rows"):
            data[name] = [list(v) if isinstance(v, tuple) else v for v in data[name]]
        return data


def judge(runner: Runner, *, gold_sql: str, answer: str, dialect: str = "sqlite") -> Verdict:
    """The verdict on one answer to one question. The gold is run once per runner, then remembered.

    `gold_sql` may be an answer with SQL in it, as a dataset keeps it whose answers say more than
    SQL. `dialect` is that of the database behind the runner.
    """
    gold_sql, gold = _gold(runner, gold_sql)
    sql = extract_sql(answer)
    outcome = runner.run(sql) if sql is not None else _NO_ANSWER
    error = _error(runner, gold_sql, gold, outcome, dialect)
    return Verdict(
        correct=error is None,
        sql=sql,
        is_query=outcome.error is None or outcome.error.klass != "not_a_query",
        executes=outcome.error is None,
        exact_match=sql is not None and _same_text(gold_sql, sql, dialect),
        error_class=error.klass if error else None,
        message=error.message if error else "",
        hardness=hardness(gold_sql, dialect),
        gold_executes=gold.error is None,
        seconds=outcome.seconds,
        columns=tuple(map(_shown, outcome.columns)),
        rows=_preview(outcome),
        row_count=len(outcome.rows),
        gold_rows=_preview(gold),
        gold_row_count=len(gold.rows),
    )


def _gold(runner: Runner, text: str) -> tuple[str, Outcome]:
    """The SQL that counts, and what came of it: the text as it is, or what is found in it."""
    outcome = runner.remembered(text)
    if outcome.error is not None and (sql := extract_sql(text)) not in (None, text):
        return sql, runner.remembered(sql)
    return text, outcome


_NO_ANSWER = Outcome([], [], SqlError("not_a_query", "the answer holds no SQL"))


def _error(
    runner: Runner, gold_sql: str, gold: Outcome, outcome: Outcome, dialect: str
) -> SqlError | None:
    if gold.error is not None:
        return SqlError(GOLD_FAILS, f"the gold does not execute: {gold.error.message}")
    if outcome.error is not None:
        return outcome.error
    ordered = is_ordered(gold_sql, dialect)
    groups = _tie_groups(runner, gold_sql, gold, dialect) if ordered else None
    klass = compare_results(gold, outcome, ordered=ordered, groups=groups)
    if klass is None:
        return None
    if gold.rows and not outcome.rows:
        return SqlError("empty", f"no rows, where the gold has {len(gold.rows)}")
    if klass == "wrong_columns":
        had, wanted = len(outcome.columns), len(gold.columns)
        return SqlError(klass, f"{had} columns, where the gold has {wanted}")
    if len(gold.rows) != len(outcome.rows):
        return SqlError(klass, f"{len(outcome.rows)} rows, where the gold has {len(gold.rows)}")
    order = " in the gold's order" if ordered else ""
    return SqlError(klass, f"as many rows as the gold, but not the same ones{order}")


def _same_text(gold_sql: str, sql: str, dialect: str) -> bool:
    canonical = normalise(sql, dialect)
    return canonical is not None and canonical == normalise(gold_sql, dialect)


def _tie_groups(runner: Runner, gold_sql: str, gold: Outcome, dialect: str) -> list[int] | None:
    """Which gold rows tie in its ORDER BY: their order among themselves is nobody's mistake.

    The gold is run once more with its sort keys as further columns. Where that can't be written
    (DISTINCT, set operations) or gives other rows, None: then the order is the gold's, to the row.
    """
    probe = _with_sort_keys(gold_sql, dialect)
    keyed = runner.remembered(probe) if probe else None
    if keyed is None or keyed.error is not None:
        return None
    width = len(gold.columns)
    if [row[:width] for row in keyed.rows] != gold.rows:
        return None
    return tie_groups(row[width:] for row in keyed.rows)


@lru_cache(maxsize=4096)
def _with_sort_keys(gold_sql: str, dialect: str) -> str | None:
    from sqlglot import exp

    tree = parse_query(gold_sql, dialect=dialect)
    if not isinstance(tree, exp.Select) or tree.args.get("distinct"):
        return None
    tree = tree.copy()
    named = {c.alias.casefold(): c.this for c in tree.expressions if c.alias}
    for key in tree.args["order"].expressions:
        value = key.this
        if isinstance(value, exp.Literal):  # ORDER BY 2
            place = int(value.name) - 1 if value.is_int else len(tree.expressions)
            value = tree.expressions[place] if 0 <= place < len(tree.expressions) else None
        elif isinstance(value, exp.Column) and not value.table:
            value = named.get(value.name.casefold(), value)
        if value is None:
            return None
        tree.append("expressions", value.unalias().copy())
    try:
        return tree.sql(dialect=dialect, comments=False)
    except RecursionError:  # writing a tree goes deeper than reading it
        return None


def _preview(outcome: Outcome) -> tuple[tuple, ...]:
    return tuple(tuple(map(_shown, row)) for row in outcome.rows[:_SHOWN_ROWS])


def _shown(value: object) -> object:
    """A value as it may stand in JSON and in any database's JSON column: short, no NUL, finite."""
    if isinstance(value, bytes):
        value = f"x'{value[: _SHOWN_CHARACTERS // 2].hex()}'"
    if isinstance(value, str):
        return value[:_SHOWN_CHARACTERS].replace("\x00", "\\x00")
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
