"""The requests that are being answered: what is to be said of each, and when it is over.

Knows no engine and no Redis.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from core.chat.unanswered import code_and_field
from core.serving.wire import End, Event, Failed, Request, Text, Usage
from workers.ml.account import Account
from workers.ml.generation import Completion, Unfinished
from workers.ml.spelling import Spelling
from workers.ml.voice import Voice


@dataclass
class Done:
    """What a server has done in all its attempts."""

    requests: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass
class Talk:
    """A request that is being answered: a voice for each answer, of which `left` go on, and an
    account of its tokens where they are wanted. `asks_by`: the field that says what is asked."""

    asks_by: str
    adapter: str | None
    voices: list[Voice]
    accounts: list[Account | None]
    left: int
    usage: Usage = field(default_factory=lambda: Usage(0, 0))


class Talks:
    """By the request's id. `done` counts those that are over."""

    def __init__(self, tokenizer, done: Done) -> None:
        self.done = done
        self._tokenizer = tokenizer
        self._spelling = Spelling(tokenizer)
        self._talks: dict[str, Talk] = {}

    def __len__(self) -> int:
        return len(self._talks)

    @property
    def ids(self) -> list[str]:
        return [*self._talks]

    @property
    def adapters(self) -> set[str]:
        """Those in use."""
        return {talk.adapter for talk in self._talks.values() if talk.adapter is not None}

    def begin(self, request_id: str, request: Request, adapter: str | None, *, whole: bool) -> None:
        voices = [Voice(self._tokenizer, stop=request.stop, whole=whole) for _ in range(request.n)]
        accounts = [None if request.logprobs is None else Account(self._spelling) for _ in voices]
        asks_by = request.prompt.asks_by
        self._talks[request_id] = Talk(asks_by, adapter, voices, accounts, left=request.n)

    def say(
        self, unfinished: Iterable[Unfinished], completions: Iterable[Completion]
    ) -> dict[str, list[Event]]:
        """What is new of every request, of most of them nothing."""
        said: dict[str, list[Event]] = {request_id: [] for request_id in self._talks}
        for one in unfinished:
            said[one.id] += self._go_on(one)
        for completion in completions:
            said[completion.id] += self._end(completion)
        return said

    def take_over(self) -> set[str]:
        """Forgets the requests that have said all."""
        over = {request_id for request_id, talk in self._talks.items() if not talk.left}
        for request_id in over:
            del self._talks[request_id]
        return over

    def drop(self, request_id: str) -> None:
        """Nothing more is said of it."""
        self._talks.pop(request_id, None)
        self.done.failed += 1

    def _go_on(self, one: Unfinished) -> list[Event]:
        talk = self._talks[one.id]
        voice, account = talk.voices[one.index], talk.accounts[one.index]
        text, tokens = voice.go_on(one.token_ids), None
        if account is not None:
            tokens = account.go_on(one.token_ids, one.scores, voice.said)
        return [Text(one.index, text, tokens)] if text or tokens else []

    def _end(self, completion: Completion) -> list[Event]:
        talk = self._talks[completion.id]
        if (problem := completion.error) is not None:
            talk.left = 0
            self.done.failed += 1
            code, field = code_and_field(problem.klass, talk.asks_by)
            return [Failed("request", code, problem.message, param=field)]
        rest, tokens = talk.voices[completion.index].end(completion.text), None
        if (account := talk.accounts[completion.index]) is not None:
            tokens = account.end(completion.token_ids, completion.scores, len(completion.text))
        said = talk.usage.completion_tokens + completion.completion_tokens
        talk.usage = Usage(completion.prompt_tokens, said)
        talk.left -= 1
        events: list[Event] = [End(completion.index, rest, completion.finish_reason, tokens)]
        if not talk.left:
            events.append(talk.usage)
            self.done.requests += 1
            self.done.prompt_tokens += talk.usage.prompt_tokens
            self.done.completion_tokens += talk.usage.completion_tokens
        return events
