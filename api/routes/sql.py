"""`/v1/sql`: a question on a database is answered with SQL, which is run.

Async, since a model's answer takes long; the statement runs in a thread, a few at a time.
"""

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api.asking import answers, find_model, name_of
from api.deps import Reader
from api.gone import nobody_left, unless_gone
from api.turns import run_statement
from core.adapters.names import ModelTarget
from core.chat.bounds import require_room
from core.chat.completion import Usage
from core.chat.served import whole_answers
from core.chat.sql import SqlRequest
from core.chat.sql_answer import SqlAnswer, sql_answer
from core.databases import service as databases
from core.databases.asking import ask
from core.databases.models import TargetDatabase
from core.db import get_database
from core.serving import wire

router = APIRouter(prefix="/sql", tags=["sql"])


@router.post("", response_model=SqlAnswer)
async def answer_with_sql(request: Request, body: SqlRequest, principal: Reader):
    """Ask a model for SQL. Says whether it parses and runs, and brings rows if they are wanted."""
    target, database, prompt = await run_in_threadpool(_prepare, principal.project_id, body)
    wanted = body.model_copy(update={"model": name_of(body.model, target)})
    asked = wire.Request(prompt, max_tokens=body.max_tokens)
    try:
        work = whole_answers(answers(principal.project_id, target, asked))
        (end,), used = await unless_gone(request, work)
        return await run_statement(request, _run, wanted, database, end.text, used)
    except ClientDisconnect:
        return nobody_left()


def _prepare(project_id: str, body: SqlRequest) -> tuple[ModelTarget, TargetDatabase, wire.Sql]:
    target = find_model(project_id, body.model)
    with get_database().reading() as session:
        database = databases.find(session, project_id, body.database)
    prompt = wire.Sql(body.question, **databases.prompt_params(database))
    require_room(prompt, target.base.context_length)
    return target, database, prompt


def _run(body: SqlRequest, database: TargetDatabase, text: str, used: Usage) -> SqlAnswer:
    with ask(database) as runner:
        return sql_answer(body, text, runner, dialect=database.dialect, usage=used)
