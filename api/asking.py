"""Asks a model something: finds its server, or has one started, and iterates over the answer.

Knows no body and no answer's shape. Whoever stops iterating ends the generation.
"""

from collections.abc import AsyncGenerator

from starlette.concurrency import run_in_threadpool

from core.adapters.names import ModelTarget, resolve_model
from core.db import get_database
from core.errors import InvalidInput, NotFound
from core.serving import servers, wire
from core.serving.client import Answered, get_client
from core.serving.places import place_of


def find_model(project_id: str, name: str) -> ModelTarget:
    """What the name means; a name that means nothing is a 404, as it is to OpenAI's clients."""
    with get_database().reading() as session:
        try:
            return resolve_model(session, project_id, name)
        except InvalidInput as error:
            raise NotFound(error.message, param="model", code=error.code) from None


def name_of(asked: str, target: ModelTarget) -> str:
    """The model as the answer names it: as it was asked for, but of an alias, which may move, the
    version that it stood for."""
    return target.name if "@" in asked else asked


async def answers(
    project_id: str, target: ModelTarget, request: wire.Request
) -> AsyncGenerator[Answered]:
    """The events of the answer. Waits for a server that is just coming up, not for ever."""
    client = get_client()
    place = place_of(target)

    async def ensure() -> None:
        await run_in_threadpool(_start_server, project_id, target.name)

    if not await client.is_ready(place.server):
        await ensure()
    async with client.ask(place, request, ensure) as answer:
        async for event in answer:
            yield event


def _start_server(project_id: str, name: str) -> None:
    with get_database().transaction() as session:
        servers.ensure_server(session, project_id, resolve_model(session, project_id, name))
