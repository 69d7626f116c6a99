"""The pieces of an answer are its text, in any script, and never more than that."""

import pytest

from tests.tiny_model import build_tiny_tokenizer
from workers.ml.voice import Voice

TEXT = "SELECT 客户.名称 FROM 客户 -- 🙂 total sales, customers…"


@pytest.fixture(scope="module")
def tokenizer():
    return build_tiny_tokenizer()


def pieces(voice, token_ids, text, *, step=1):
    """What is said, with `step` tokens at a time, to the end."""
    heard = [voice.go_on(token_ids[:end]) for end in range(step, len(token_ids), step)]
    return [*heard, voice.end(text)]


@pytest.mark.parametrize("step", [1, 2, 3, 7])
def test_pieces_in_a_row_are_the_text_and_no_character_comes_in_halves(tokenizer, step):
    token_ids = tokenizer(TEXT).input_ids
    assert len(token_ids) > 30, "characters of several tokens are among them"
    heard = pieces(Voice(tokenizer), token_ids, TEXT, step=step)
    assert "".join(heard) == TEXT
    assert not any("\ufffd" in piece for piece in heard)
    assert sum(map(bool, heard)) > len(token_ids) // step // 4, "it comes as it is written"


def test_what_may_become_a_stop_string_is_held_back_until_it_is_none(tokenizer):
    token_ids = tokenizer("a STO b STOP").input_ids
    voice = Voice(tokenizer, stop=("STOP",))
    heard = pieces(voice, token_ids, "a STO b ")
    assert "".join(heard) == "a STO b "


def test_of_an_answer_that_is_wanted_whole_nothing_is_said_before_its_end(tokenizer):
    token_ids = tokenizer(TEXT).input_ids
    heard = pieces(Voice(tokenizer, whole=True), token_ids, TEXT)
    assert heard == [""] * (len(heard) - 1) + [TEXT]


def test_an_answer_that_begins_again_is_not_said_twice(tokenizer):
    token_ids = tokenizer(TEXT).input_ids
    voice = Voice(tokenizer)
    heard = [voice.go_on(token_ids[:end]) for end in range(1, 30)]
    heard += [voice.go_on(token_ids[:end]) for end in range(1, len(token_ids))]
    assert "".join([*heard, voice.end(TEXT)]) == TEXT


def test_bytes_that_are_no_character_are_said_at_the_end_alone(tokenizer):
    token_ids = tokenizer("好").input_ids[:2]
    text = tokenizer.decode(token_ids)
    voice = Voice(tokenizer)
    assert [voice.go_on(token_ids[:1]), voice.go_on(token_ids)] == ["", ""]
    assert voice.end(text) == text
