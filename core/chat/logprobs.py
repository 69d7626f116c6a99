"""OpenAI's objects of what the model gave each token of an answer. Knows no model."""

from typing import Any

from pydantic import BaseModel


class TopLogprob(BaseModel):
    """`bytes`: of the token, which may be a part of a character; null where no text shows it."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(BaseModel):
    content: list[TokenLogprob]
    refusal: None = None


def logprobs_of(tokens: list[dict[str, Any]] | None) -> ChoiceLogprobs | None:
    """Of tokens as a server tells them; None where they were not wanted."""
    return None if tokens is None else ChoiceLogprobs.model_validate({"content": tokens})
