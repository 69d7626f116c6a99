"""The bytes that a token brings to a text, parts of characters among them. Knows no model.

What a whole text says is asked of the tokenizer, of whatever kind it is. For a part of a character
it has no text: then the token's name tells its bytes, in the alphabet of byte-level BPE (`å` is
0xE5) or as SentencePiece writes a byte (`<0xE5>`).
"""

import re
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

BROKEN = "\ufffd"
BYTES = {letter: byte for byte, letter in bytes_to_unicode().items()}
PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Spelling:
    """One tokenizer's. Each token is spelled once."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._anchor = tokenizer("a", add_special_tokens=False).input_ids[-1:]
        self._spelled: dict[tuple[int, bool], bytes] = {}

    def of(self, token: int, *, first: bool) -> bytes:
        """Nothing where a text does not show it, as the end of a turn. `first`: the text begins
        with it, and some tokenizers leave out a space there."""
        if (token, first) not in self._spelled:
            self._spelled[token, first] = self._spell(token, first)
        return self._spelled[token, first]

    def name(self, token: int) -> str:
        """For one without bytes. Empty where the model has a token that the tokenizer lacks."""
        return self._tokenizer.decode([token], skip_special_tokens=False)

    def _spell(self, token: int, first: bool) -> bytes:
        text = self._text([token]) if first else self._behind(token)
        if BROKEN not in text:
            return text.encode()
        name = self._tokenizer.convert_ids_to_tokens(token)
        if piece := PIECE.fullmatch(name):
            return bytes([int(piece[1], 16)])
        if all(letter in BYTES for letter in name):
            return bytes(BYTES[letter] for letter in name)
        return text.encode()

    def _behind(self, token: int) -> str:
        """What it adds to a text that has begun."""
        before, both = self._text(self._anchor), self._text([*self._anchor, token])
        return both[len(before) :] if both.startswith(before) else self._text([token])

    def _text(self, tokens: list[int]) -> str:
        return self._tokenizer.decode(tokens, skip_special_tokens=True)
