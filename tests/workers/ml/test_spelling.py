"""Every token's bytes, whatever kind of tokenizer it is of."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tests.tiny_model import build_tiny_tokenizer
from workers.ml.spelling import Spelling

TEXT = "SELECT 客户.名称 FROM naïve -- 🙂 total  sales\n"


def piece_tokenizer():
    """As those of SentencePiece: a word's space is `▁`, what has no piece is bytes."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", "a", "▁a", "S", "E", "SE", "户"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    merges = [("▁", "a"), ("S", "E")]
    model = models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def spelled(tokenizer, token_ids):
    spelling = Spelling(tokenizer)
    return [spelling.of(token, first=not place) for place, token in enumerate(token_ids)]


@pytest.mark.parametrize("build", [build_tiny_tokenizer, piece_tokenizer])
def test_the_bytes_of_a_text_s_tokens_are_the_text(build):
    tokenizer = build()
    token_ids = tokenizer(TEXT, add_special_tokens=False).input_ids
    assert any(b"\xe5".startswith(one) for one in spelled(tokenizer, token_ids)), "parts are there"
    assert b"".join(spelled(tokenizer, token_ids)) == TEXT.encode()
    assert tokenizer.decode(token_ids) == TEXT


@pytest.mark.parametrize("byte", [0x0A, 0x20, 0x41, 0x7F, 0x80, 0xE5, 0xFF])
def test_each_byte_is_a_token_of_both_kinds(byte):
    whole, piece = build_tiny_tokenizer(), piece_tokenizer()
    letter = whole.backend_tokenizer.pre_tokenizer.alphabet()
    names = {Spelling(whole).of(whole.convert_tokens_to_ids(one), first=False) for one in letter}
    assert bytes([byte]) in names
    token = piece.convert_tokens_to_ids(f"<0x{byte:02X}>")
    assert Spelling(piece).of(token, first=False) == bytes([byte])


def test_a_space_before_a_word_is_its_own_but_at_the_beginning_of_a_text():
    tokenizer = piece_tokenizer()
    token = tokenizer.convert_tokens_to_ids("▁a")
    assert Spelling(tokenizer).of(token, first=True) == b"a"
    assert Spelling(tokenizer).of(token, first=False) == b" a"


def test_what_a_text_does_not_show_has_a_name_and_no_bytes():
    tokenizer = build_tiny_tokenizer()
    spelling = Spelling(tokenizer)
    assert spelling.of(tokenizer.eos_token_id, first=False) == b""
    assert spelling.name(tokenizer.eos_token_id) == "<|im_end|>"
    beyond = len(tokenizer) + 7
    assert (spelling.of(beyond, first=False), spelling.name(beyond)) == (b"", "")


def test_a_token_that_was_added_is_spelled_as_it_is_written():
    tokenizer = build_tiny_tokenizer()
    tokenizer.add_tokens(["<think>", "客户"])
    for text in ("<think>", "客户"):
        token = tokenizer.convert_tokens_to_ids(text)
        assert Spelling(tokenizer).of(token, first=False) == text.encode()
