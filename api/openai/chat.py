"""`/v1/chat/completions`: a conversation is answered, whole or as it is written.

Async, since an answer takes long: while it comes, no thread waits for it.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.types import Send

from api.asking import answers, find_model, name_of
from api.closing import until_closing
from api.deps import Reader
from api.errors import answer_to
from api.gone import nobody_left, unless_gone
from core.chat.bounds import require_room
from core.chat.completion import ChatCompletion, ChatCompletionChunk
from core.chat.request import ChatRequest
from core.chat.served import Reply, to_ask

router = APIRouter(prefix="/chat", tags=["chat"])

STREAM = "text/event-stream"
STREAMED = {
    "description": "The answer; with `stream: true` its pieces as server-sent events, each with a "
    "`chat.completion.chunk` or, where it broke off, an `error`. The last one is `[DONE]`.",
    "content": {STREAM: {"schema": {"type": "string"}}},
}


@router.post("/completions", response_model=ChatCompletion, responses={200: STREAMED})
async def create_completion(request: Request, body: ChatRequest, principal: Reader):
    """Ask a model. Where no server of it runs one is started, if a device is free for it."""
    target = await run_in_threadpool(find_model, principal.project_id, body.model)
    asked = to_ask(body)
    require_room(asked.prompt, target.base.context_length)
    reply = Reply(name_of(body.model, target))
    events = answers(principal.project_id, target, asked)
    try:
        if not body.stream:
            return await unless_gone(request, reply.whole(events))
        pieces = reply.pieces(events, include_usage=body.include_usage)
        # Before a line is sent, what is wrong can still be a status.
        first = await unless_gone(request, anext(pieces))
    except ClientDisconnect:
        return nobody_left()
    return EventStream(_lines(request, first, pieces, with_usage=body.include_usage))


class EventStream(StreamingResponse):
    """Lines of server-sent events. When the client goes away, or is told all, the source ends."""

    media_type = STREAM

    def __init__(self, lines: AsyncGenerator[str]) -> None:
        super().__init__(lines, headers={"x-accel-buffering": "no"})

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self.body_iterator):
            await super().stream_response(send)


async def _lines(
    request: Request,
    first: ChatCompletionChunk,
    others: AsyncGenerator[ChatCompletionChunk],
    *,
    with_usage: bool,
) -> AsyncGenerator[str]:
    async with aclosing(others):
        try:
            yield _line(first.text(with_usage=with_usage))
            async for chunk in until_closing(request.app.state.closing, others):
                yield _line(chunk.text(with_usage=with_usage))
        except Exception as error:
            # The status is out; a client's SDK raises what it finds in an object `error`.
            yield _line(answer_to(request, error).body.decode())
        else:
            yield _line("[DONE]")


def _line(data: str) -> str:
    return f"data: {data}\n\n"
