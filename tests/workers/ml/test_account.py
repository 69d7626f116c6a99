"""The tokens that are told are those of the text, each once, however it is said."""

import random

import pytest

from tests.tiny_model import build_tiny_tokenizer
from workers.ml.account import Account
from workers.ml.scores import Score
from workers.ml.spelling import Spelling
from workers.ml.voice import Voice

TEXT = "SELECT 客户.名称 FROM 客户 -- 🙂 total sales, customers…"


@pytest.fixture(scope="module")
def tokenizer():
    return build_tiny_tokenizer()


@pytest.fixture(scope="module")
def spelling(tokenizer):
    return Spelling(tokenizer)


def scored(token_ids):
    """Told apart by their log probability, which is their place."""
    return [Score(-float(place), []) for place, _ in enumerate(token_ids)]


def whole(spelling, token_ids, text):
    return Account(spelling).end(token_ids, scored(token_ids), len(text))


def in_pieces(tokenizer, spelling, token_ids, text, *, step=1, stop=()):
    """What is told with each piece that is said."""
    voice, account, scores = Voice(tokenizer, stop=stop), Account(spelling), scored(token_ids)
    told = []
    for end in range(step, len(token_ids), step):
        said = voice.go_on(token_ids[:end])
        told.append((said, account.go_on(token_ids[:end], scores[:end], voice.said)))
    return [*told, (voice.end(text), account.end(token_ids, scores, len(text)))]


def bytes_of(told):
    return b"".join(bytes(one["bytes"]) for one in told)


def test_each_token_has_its_bytes_its_score_and_the_others_of_its_place(tokenizer, spelling):
    token_ids = tokenizer("好").input_ids
    end = tokenizer.eos_token_id
    scores = [Score(-0.5, [(token_ids[0], -0.5), (end, -1.5)]) for _ in token_ids]
    first, *_, last = Account(spelling).end(token_ids, scores, 1)
    assert first == {
        "token": "\ufffd",
        "logprob": -0.5,
        "bytes": [0xE5],
        "top_logprobs": [
            {"token": "\ufffd", "logprob": -0.5, "bytes": [0xE5]},
            {"token": "<|im_end|>", "logprob": -1.5, "bytes": None},
        ],
    }
    assert last["bytes"] == [0xBD]


@pytest.mark.parametrize("step", [1, 2, 3, 7])
def test_in_pieces_the_same_is_told_as_at_once_with_the_text_that_it_is(tokenizer, spelling, step):
    token_ids = tokenizer(TEXT).input_ids
    pieces = in_pieces(tokenizer, spelling, token_ids, TEXT, step=step)
    assert [one for _, told in pieces for one in told] == whole(spelling, token_ids, TEXT)
    assert all(bytes_of(told) == said.encode() for said, told in pieces)
    assert [one["logprob"] for _, told in pieces for one in told] == [
        -i for i in range(len(token_ids))
    ]


def test_what_is_cut_at_a_stop_string_is_not_told_and_a_token_only_as_far_as_the_text_goes(
    tokenizer, spelling
):
    written = "客户 SELECT name FROM x"
    for stop in ("CT n", "SELECT", " FROM", "户"):
        token_ids = tokenizer(written).input_ids
        while stop in tokenizer.decode(token_ids[:-1]):  # a row ends with the token that brings it
            token_ids.pop()
        text = written[: written.index(stop)]
        told = whole(spelling, token_ids, text)
        assert bytes_of(told) == text.encode()
        pieces = in_pieces(tokenizer, spelling, token_ids, text, stop=(stop,))
        assert [one for _, some in pieces for one in some] == told


def test_nothing_is_told_of_tokens_that_the_text_does_not_show(tokenizer, spelling):
    token_ids = [*tokenizer("a").input_ids, tokenizer.bos_token_id, *tokenizer("b").input_ids]
    told = whole(spelling, token_ids, "ab")
    assert [(one["token"], one["logprob"]) for one in told] == [("a", 0.0), ("b", -2.0)]


def test_an_answer_that_begins_again_is_not_told_twice(tokenizer, spelling):
    token_ids = tokenizer(TEXT).input_ids
    voice, account, scores = Voice(tokenizer), Account(spelling), scored(token_ids)
    told = []
    for end in [*range(1, 30), *range(1, len(token_ids))]:
        voice.go_on(token_ids[:end])
        told += account.go_on(token_ids[:end], scores[:end], voice.said)
    told += account.end(token_ids, scores, len(TEXT))
    assert told == whole(spelling, token_ids, TEXT)


@pytest.mark.parametrize("seed", range(20))
def test_bytes_that_are_no_characters_are_told_as_they_are(tokenizer, spelling, seed):
    chance = random.Random(seed)
    token_ids = [chance.randrange(len(tokenizer)) for _ in range(60)]
    text = tokenizer.decode(token_ids, skip_special_tokens=True)
    told = whole(spelling, token_ids, text)
    assert bytes_of(told).decode("utf-8", "replace") == text
    pieces = in_pieces(tokenizer, spelling, token_ids, text)
    assert [one for _, some in pieces for one in some] == told
    for length in range(len(text)):
        cut = bytes_of(whole(spelling, token_ids, text[:length]))
        assert cut.decode("utf-8", "replace") == text[:length]


def test_an_answer_that_ends_within_a_character_ends_with_its_part(tokenizer, spelling):
    token_ids = tokenizer("a好").input_ids[:-1]
    text = tokenizer.decode(token_ids)
    assert text == "a\ufffd"
    assert bytes_of(whole(spelling, token_ids, text)) == b"a\xe5\xa5"
