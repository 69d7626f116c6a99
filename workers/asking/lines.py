"""OpenAI's request lines: each becomes a line of the batch's output, which is its durable row.

A line says itself how it is asked. Which of a batch's two files it goes to, and when they are made,
is not known here.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.batches import output
from core.batches.lines import Endpoint, Line, read_lines
from core.chat.completion import (
    AnswerMessage,
    ChatCompletion,
    Choice,
    Usage,
    completion_id,
    usage,
)
from core.chat.logprobs import ChoiceLogprobs, logprobs_of
from core.chat.request import ChatRequest
from core.chat.sql import SqlRequest
from core.chat.sql_answer import sql_answer
from core.chat.unanswered import code_and_field
from core.errors import InvalidInput
from core.sql.runner import Runner
from core.training.prompts import PromptTemplate
from workers.asking.form import Refused, Row
from workers.ml.account import Account
from workers.ml.answering import encode_prompt
from workers.ml.generation import Completion, Request
from workers.ml.sampling import Sampling
from workers.ml.spelling import Spelling


class Lines(ABC):
    """What both endpoints share. `asks_by`: the field of a body that holds the question. `model`:
    what an alias stood for when the batch was made."""

    endpoint: Endpoint
    asks_by: str

    def __init__(self, tokenizer: Any, template: PromptTemplate, *, model: str) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._template = template
        self._counts = {"completed": 0, "failed": 0, "prompt_tokens": 0, "completion_tokens": 0}

    @abstractmethod
    def request(self, index: int, asked: Line) -> Request | Refused: ...

    @abstractmethod
    def body(self, asked: Line, completions: list[Completion], used: Usage) -> dict[str, Any]:
        """What the endpoint answers."""

    def read(self, path: Path) -> Iterator[tuple[int, Line | Refused]]:
        for line in read_lines(path, self.endpoint):
            yield line.row, line if line.error is None else _refused(line, line.error)

    def row(self, asked: Line, completions: list[Completion]) -> Row:
        first = completions[0]
        if (problem := first.error) is not None:
            code, field = code_and_field(problem.klass, self.asks_by)
            return output.refused(asked.custom_id, problem.message, code=code, param=field)
        used = usage(first.prompt_tokens, sum(one.completion_tokens for one in completions))
        return output.answered(asked.custom_id, self.body(asked, completions, used))

    def name_of(self, model: str) -> str:
        """The model as an answer names it: as it was asked for, but of an alias what it meant."""
        return self._model if "@" in model else model

    def count(self, row: Row) -> None:
        prompt, completion = output.tokens_of(row)
        self._counts["completed" if output.is_answer(row) else "failed"] += 1
        self._counts["prompt_tokens"] += prompt
        self._counts["completion_tokens"] += completion

    @property
    def failed(self) -> int:
        return self._counts["failed"]

    def summary(self) -> dict[str, Any]:
        return {"rows": self._counts["completed"] + self._counts["failed"], **self._counts}


class ChatLines(Lines):
    """`/v1/chat/completions`."""

    endpoint = "/v1/chat/completions"
    asks_by = "messages"

    def __init__(self, tokenizer: Any, template: PromptTemplate, *, model: str) -> None:
        super().__init__(tokenizer, template, model=model)
        self._spelling = Spelling(tokenizer)

    def request(self, index: int, asked: Line) -> Request | Refused:
        request: ChatRequest = asked.request
        try:
            prompt_ids = self._template.encode_turns(self._tokenizer, request.turns)
        except InvalidInput as error:
            return _refused(asked, error)
        sampling = Sampling(
            max_new_tokens=request.answer_tokens,
            temperature=request.temperature or 0.0,
            top_p=1.0 if request.top_p is None else request.top_p,
            # Lines that ask the same are drawn apart, and alike in every attempt.
            seed=index if request.seed is None else request.seed,
            n=request.n or 1,
            stop=tuple(request.stop or ()),
            logprobs=request.best_tokens,
        )
        return Request(index, prompt_ids, sampling)

    def body(self, asked: Line, completions: list[Completion], used: Usage) -> dict[str, Any]:
        choices = [
            Choice(
                index=one.index,
                message=AnswerMessage(content=one.text),
                finish_reason=one.finish_reason,
                logprobs=self._logprobs(asked.request, one),
            )
            for one in completions
        ]
        completion = ChatCompletion(
            id=completion_id(),
            created=int(time.time()),
            model=self.name_of(asked.request.model),
            choices=choices,
            usage=used,
        )
        return completion.model_dump(mode="json")

    def _logprobs(self, request: ChatRequest, one: Completion) -> ChoiceLogprobs | None:
        if request.best_tokens is None:
            return None
        account = Account(self._spelling)
        return logprobs_of(account.end(one.token_ids, one.scores, len(one.text)))


class SqlLines(Lines):
    """`/v1/sql`: what is answered is run on the database."""

    endpoint = "/v1/sql"
    asks_by = "question"

    def __init__(
        self, tokenizer: Any, template: PromptTemplate, runner: Runner, *, model: str
    ) -> None:
        super().__init__(tokenizer, template, model=model)
        self._runner = runner

    def request(self, index: int, asked: Line) -> Request:
        request: SqlRequest = asked.request
        example = {"question": request.question}
        prompt_ids = encode_prompt(self._tokenizer, self._template, example)
        sampling = Sampling(max_new_tokens=request.max_tokens, sql=self._template.style != "chat")
        return Request(index, prompt_ids, sampling)

    def body(self, asked: Line, completions: list[Completion], used: Usage) -> dict[str, Any]:
        request: SqlRequest = asked.request
        answer = sql_answer(
            request.model_copy(update={"model": self.name_of(request.model)}),
            completions[0].text,
            self._runner,
            dialect=self._template.dialect or "sqlite",
            usage=used,
        )
        return answer.model_dump(mode="json", by_alias=True)


def _refused(line: Line, error: Any) -> Refused:
    row = output.refused(line.custom_id, error.message, code=error.code, param=error.param)
    return Refused(row)
