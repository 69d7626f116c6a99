"""What no parameter of a job may hold, and what only looks like it."""

import pytest
from pydantic import ValidationError

from core.jobs.types.base import Params


class Asked(Params):
    text: str
    more: dict[str, str] = {}


@pytest.mark.parametrize("text", ["a\x00", "\\\x00", "\\u0000\x00", "\ud800"])
def test_what_no_database_can_store_is_refused_wherever_it_stands(text: str) -> None:
    for given in ({"text": text}, {"text": "a", "more": {"b": text}}, {"text": "a", text: "b"}):
        with pytest.raises(ValidationError, match="a text has"):
            Asked.model_validate(given)


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "C:\\u0000 客户"])
def test_a_backslash_before_u0000_is_text_as_any_other(text: str) -> None:
    assert Asked.model_validate({"text": text}).text == text
