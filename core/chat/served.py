"""Between a chat request and a server: how it is asked, and OpenAI's objects of what comes back.

Knows what travels to and from a server, not how.
"""

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from core.chat import completion
from core.chat.completion import (
    AnswerMessage,
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    Delta,
    completion_id,
)
from core.chat.logprobs import logprobs_of
from core.chat.request import ChatRequest
from core.serving import wire
from core.serving.wire import End, Text, Usage

Events = AsyncGenerator[Text | End | Usage]


def to_ask(request: ChatRequest) -> wire.Request:
    return wire.Request(
        prompt=wire.Chat(request.turns),
        max_tokens=request.answer_tokens,
        temperature=request.temperature or 0.0,
        top_p=1.0 if request.top_p is None else request.top_p,
        seed=secrets.randbits(63) if request.seed is None else request.seed,
        n=request.n or 1,
        stop=tuple(request.stop or ()),
        stream=bool(request.stream),
        logprobs=request.best_tokens,
    )


async def whole_answers(events: Events) -> tuple[list[End], completion.Usage]:
    """Every answer of a request that was not streamed, in order, and what they took."""
    *ends, used = [event async for event in events]
    return sorted(ends, key=lambda end: end.index), used_by(used)


def used_by(event: Usage) -> completion.Usage:
    return completion.usage(event.prompt_tokens, event.completion_tokens)


@dataclass(frozen=True)
class Reply:
    """What all pieces of one answer have in common. `model` is its name as the answer says it."""

    model: str
    id: str = field(default_factory=completion_id)
    created: int = field(default_factory=lambda: int(time.time()))

    async def whole(self, events: Events) -> ChatCompletion:
        ends, used = await whole_answers(events)
        choices = [
            Choice(
                index=end.index,
                message=AnswerMessage(content=end.text),
                finish_reason=end.finish_reason,
                logprobs=logprobs_of(end.tokens),
            )
            for end in ends
        ]
        return ChatCompletion(
            id=self.id, created=self.created, model=self.model, choices=choices, usage=used
        )

    async def pieces(
        self, events: Events, *, include_usage: bool
    ) -> AsyncGenerator[ChatCompletionChunk]:
        """Of each answer its role, its text as it comes, and why it ended; at last the usage."""
        begun: set[int] = set()
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Usage):
                    if include_usage:
                        yield self._chunk([], usage=used_by(event))
                    return
                if event.index not in begun:
                    begun.add(event.index)
                    yield self._piece(event.index, Delta(role="assistant", content=""))
                if event.text or event.tokens:
                    told = logprobs_of(event.tokens)
                    yield self._piece(event.index, Delta(content=event.text), logprobs=told)
                if isinstance(event, End):
                    yield self._piece(event.index, Delta(), finish_reason=event.finish_reason)

    def _piece(self, index: int, delta: Delta, **more) -> ChatCompletionChunk:
        return self._chunk([ChunkChoice(index=index, delta=delta, **more)])

    def _chunk(self, choices: list[ChunkChoice], **more) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            id=self.id, created=self.created, model=self.model, choices=choices, **more
        )
