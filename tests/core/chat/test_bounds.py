"""What no model could take is refused before it waits anywhere."""

import pytest

from core.chat.bounds import MOST_CHARACTERS, require_room
from core.errors import InvalidInput
from core.serving.wire import Chat, Sql


def chat(*lengths: int) -> Chat:
    return Chat([{"role": "user", "content": "问" * length} for length in lengths])


@pytest.mark.parametrize(
    ("prompt", "context_length", "param"),
    [
        (chat(80, 81), 20, "messages"),
        (chat(MOST_CHARACTERS, 1), 10**9, "messages"),
        (Sql("问" * 161), 20, "question"),
    ],
)
def test_a_prompt_longer_than_every_token_of_the_context_is_refused(
    prompt: Chat | Sql, context_length: int, param: str
) -> None:
    with pytest.raises(InvalidInput, match="at most") as refused:
        require_room(prompt, context_length)
    assert (refused.value.param, refused.value.code) == (param, "context_length_exceeded")


@pytest.mark.parametrize(
    "prompt", [chat(80, 80), Sql("问" * 160), Sql("问", schema_text="t" * 1000)]
)
def test_a_prompt_that_may_fit_is_the_servers_to_judge(prompt: Chat | Sql) -> None:
    require_room(prompt, 20)
