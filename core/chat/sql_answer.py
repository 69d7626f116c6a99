"""What a request for SQL is answered: the statement, and what came of running it. Knows no HTTP.

One shape for `POST /v1/sql` and for a line of a batch.
"""

import math
import time
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.chat.completion import Usage
from core.chat.sql import SqlRequest
from core.ids import new_id
from core.sql.errors import SqlError
from core.sql.extract import extract_sql
from core.sql.parse import parse_query
from core.sql.runner import Outcome, Runner


class SqlFault(BaseModel):
    """Why the statement has no result: a class out of ERROR_CLASSES, and a sentence."""

    model_config = ConfigDict(populate_by_name=True)

    klass: str = Field(alias="class")
    message: str


class SqlAnswer(BaseModel):
    """`columns` and `rows` are there where rows were asked for and it ran; `row_count` is how many
    there are in all, or `truncated` true where the limit cut them off."""

    id: str
    object: Literal["sql.answer"] = "sql.answer"
    created: int
    model: str
    database: str
    question: str
    sql: str | None
    parses: bool
    executes: bool
    error: SqlFault | None
    columns: list[str] | None = None
    rows: list[list[Any]] | None = None
    row_count: int | None = None
    truncated: bool = False
    usage: Usage


def sql_answer(
    request: SqlRequest, text: str, runner: Runner, *, dialect: str, usage: Usage
) -> SqlAnswer:
    """Take the statement out of what the model said, and run it."""
    sql = extract_sql(text)
    outcome = NOTHING if sql is None else runner.run(sql)
    error = outcome.error
    answer = SqlAnswer(
        id=new_id("sql"),
        created=int(time.time()),
        model=request.model,
        database=request.database,
        question=request.question,
        sql=sql,
        parses=sql is not None and parse_query(sql, dialect=dialect) is not None,
        executes=error is None,
        error=None if error is None else SqlFault(klass=error.klass, message=error.message),
        row_count=len(outcome.rows) if error is None else None,
        truncated=outcome.truncated,
        usage=usage,
    )
    if request.rows and error is None:
        answer.columns = list(outcome.columns)
        answer.rows = [[_shown(value) for value in row] for row in outcome.rows[: request.rows]]
    return answer


NOTHING = Outcome([], [], SqlError("not_a_query", "the answer holds no SQL"))


def _shown(value: Any) -> Any:
    """A value as JSON has it: bytes as a SQL literal, a number that is none as its name."""
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
