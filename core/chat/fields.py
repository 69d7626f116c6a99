"""Kinds of fields of a chat request, each with the words of its refusal. Knows no request."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError


def only(*values: Any, instead: str = "leave it out") -> Any:
    """A field of OpenAI's that is not honoured: taken where it says what is done anyway."""
    allowed = (*values, None)

    def check(given: Any) -> Any:
        # The type too: True equals 1.
        if any(given == one and type(given) is type(one) for one in allowed):
            return given
        if isinstance(given, int | float) and given == 0 and 0 in values:
            return given  # 0.0 is what a client makes of OpenAI's own default
        raise PydanticCustomError(
            "unsupported_value", "this is not offered here; {instead}", {"instead": instead}
        )

    return Annotated[Any, AfterValidator(check), WithJsonSchema({"enum": list(allowed)})]


def _storable(text: str) -> str:
    """No tokenizer and no database takes half a character, and PostgreSQL no NUL."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError(
            "invalid_text", "half a character (a lone surrogate) stands in it; remove it"
        ) from None
    if "\x00" in text:
        raise PydanticCustomError("invalid_text", "the character NUL stands in it; remove it")
    return text


def _joined(content: Any) -> Any:
    """A list of text parts is their texts in a row; parts of another kind can't be honoured."""
    if not isinstance(content, list):
        return content
    texts = [part.get("text") for part in content if _is_text_part(part)]
    if texts and len(texts) == len(content):
        return "".join(texts)
    raise PydanticCustomError(
        "unsupported_content", "only text is taken: a string, or parts of type 'text'"
    )


def _is_text_part(part: Any) -> bool:
    return (
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
    )


def _listed(stop: Any) -> Any:
    return [stop] if isinstance(stop, str) else stop


_TEXT_PART = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    "required": ["type", "text"],
}
_PARTS = {"type": "array", "items": _TEXT_PART, "minItems": 1}
MOST_STOP = 256
_STOP = {"type": "string", "minLength": 1, "maxLength": MOST_STOP}

Text = Annotated[str, AfterValidator(_storable)]
Content = Annotated[
    Text,
    BeforeValidator(_joined),
    WithJsonSchema({"anyOf": [{"type": "string"}, _PARTS]}),
]
"""What a message says: a string, or a list of text parts."""

Stop = Annotated[
    list[Annotated[Text, Field(min_length=1, max_length=MOST_STOP)]],
    Field(max_length=4),
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [_STOP, {"type": "array", "items": _STOP, "maxItems": 4}]}),
]
"""Up to four strings at which an answer ends, or one of them as it is."""
