"""How much text a request may bring: it lies in Redis while it waits. Knows no HTTP.

Generous: the server counts tokens, and says how many there are room for. This is about what no
model could take.
"""

from core.errors import InvalidInput
from core.serving.wire import Chat, Sql

MOST_CHARACTERS = 1_000_000
"""Of a prompt, for whatever model."""
TOKEN_CHARACTERS = 8
"""More than a token has in a text of any language, taken over the whole of a prompt."""


def require_room(prompt: Chat | Sql, context_length: int) -> None:
    """`InvalidInput` for a prompt that is longer than all tokens of the model's context. A schema
    is not counted: of a model that has learned it, it is no part of the prompt."""
    most = min(MOST_CHARACTERS, TOKEN_CHARACTERS * context_length)
    found = _characters(prompt)
    if found > most:
        raise InvalidInput(
            f"{prompt.asks_by}: {_what(prompt)} {found:,} characters; this model takes "
            f"{most:,} at most, for its {context_length:,} tokens. Send less.",
            param=prompt.asks_by,
            code="context_length_exceeded",
        )


def _characters(prompt: Chat | Sql) -> int:
    if isinstance(prompt, Chat):
        return sum(len(turn["content"]) for turn in prompt.messages)
    return len(prompt.question)


def _what(prompt: Chat | Sql) -> str:
    return "they have" if isinstance(prompt, Chat) else "it has"
