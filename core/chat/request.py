"""What a chat request may say, and which of OpenAI's fields are honoured. Knows no model, no HTTP.

One shape for `POST /v1/chat/completions` and for a line of a batch. Whatever changes the answer and
can't be honoured is refused by its name; what changes nothing is taken.
"""

from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from core.chat.bounds import MOST_CHARACTERS
from core.chat.fields import Content, Stop, Text, only
from core.closed import Closed

DEFAULT_TOKENS = 1024
"""Where a request sets no bound, an answer that does not end by itself ends here."""
COLDEST = 0.001
MOST_ANSWERS = 128
MOST_MESSAGES = 2048
MOST_TOP_LOGPROBS = 20
MOST_WITH_LOGPROBS = 16
"""Answers at once: a kilobyte and more a token adds up."""


class Message(Closed):
    """One turn. `developer` is OpenAI's newer word for `system`."""

    role: Literal["user", "system", "developer", "assistant"]
    content: Content
    # What an answer's message has too, so that it can be sent back as it came.
    name: Any = None
    annotations: Any = None
    audio: only() = None
    function_call: only() = None
    refusal: only() = None
    tool_calls: only([]) = None

    def turn(self) -> dict[str, str]:
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": self.content}


class StreamOptions(Closed):
    include_usage: bool = False
    include_obfuscation: Any = None


class Unheard(Closed):
    """Fields that OpenAI's clients send. The first ones change nothing; the others are taken where
    they ask for what is done anyway."""

    metadata: Any = None
    moderation: Any = None
    prompt_cache_key: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    safety_identifier: Any = None
    store: Any = None
    user: Any = None

    audio: only() = None
    frequency_penalty: only(0) = None
    function_call: only("none", "auto") = None
    functions: only([]) = None
    logit_bias: only({}) = None
    modalities: only(["text"], instead="['text'] is") = None
    parallel_tool_calls: only(True, False) = None
    prediction: only() = None
    presence_penalty: only(0) = None
    reasoning_effort: only("none") = None
    response_format: only({"type": "text"}, instead="only {'type': 'text'} is") = None
    service_tier: only("auto", "default") = None
    tool_choice: only("none", "auto") = None
    tools: only([]) = None
    verbosity: only("medium") = None
    web_search_options: only() = None


class ChatRequest(Unheard):
    """`temperature` is 0 unless it is set: the same question has the same answer, which is the one
    that an evaluation scores."""

    model_config = ConfigDict(allow_inf_nan=False, protected_namespaces=())

    model: Text = Field(min_length=1, max_length=400)
    messages: list[Message] = Field(min_length=1, max_length=MOST_MESSAGES)
    logprobs: bool | None = Field(None, strict=True)
    max_completion_tokens: int | None = Field(None, ge=1, le=1_000_000)
    max_tokens: int | None = Field(None, ge=1, le=1_000_000)
    n: int | None = Field(None, ge=1, le=MOST_ANSWERS)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: Stop | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_logprobs: int | None = Field(None, ge=0, le=MOST_TOP_LOGPROBS)
    top_p: float | None = Field(None, gt=0, le=1)

    @field_validator("temperature")
    @classmethod
    def _no_tiny_divisor(cls, temperature: float | None) -> float | None:
        """So cold, every draw is the best token anyway, and the division overflows."""
        return 0.0 if temperature is not None and temperature < COLDEST else temperature

    @field_validator("messages")
    @classmethod
    def _asks(cls, messages: list[Message]) -> list[Message]:
        if messages[-1].role != "user":
            raise PydanticCustomError(
                "invalid_messages",
                "the last message has to be the user's: an answer can't be continued",
            )
        if sum(len(message.content) for message in messages) > MOST_CHARACTERS:
            raise PydanticCustomError(
                "context_length_exceeded",
                "at most {most} characters together",
                {"most": MOST_CHARACTERS},
            )
        return messages

    @field_validator("stream_options")
    @classmethod
    def _streams(cls, options: StreamOptions | None, given: ValidationInfo) -> StreamOptions | None:
        if options is not None and not given.data.get("stream"):
            raise PydanticCustomError("invalid_stream_options", "only where stream is true")
        return options

    @field_validator("n")
    @classmethod
    def _few(cls, count: int | None, given: ValidationInfo) -> int | None:
        if count and count > MOST_WITH_LOGPROBS and given.data.get("logprobs"):
            raise PydanticCustomError(
                "invalid_n", "with logprobs at most {most} answers", {"most": MOST_WITH_LOGPROBS}
            )
        return count

    @field_validator("top_logprobs")
    @classmethod
    def _belongs(cls, count: int | None, given: ValidationInfo) -> int | None:
        """0 is what an answer without them has anyway."""
        if count and not given.data.get("logprobs"):
            raise PydanticCustomError("invalid_top_logprobs", "only where logprobs is true")
        return count

    @property
    def turns(self) -> list[dict[str, str]]:
        return [message.turn() for message in self.messages]

    @property
    def answer_tokens(self) -> int:
        return self.max_completion_tokens or self.max_tokens or DEFAULT_TOKENS

    @property
    def best_tokens(self) -> int | None:
        """How many of each place's likeliest tokens are to be told with the one that was said; None
        where no token is."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage
