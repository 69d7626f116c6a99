"""The text of an answer that is being written: what of it can be said already. Knows no model.

Held back is what may yet change or go: the bytes of half a character, and the beginning of a stop
string, which is cut from the answer if it is one.
"""

from collections.abc import Sequence

BROKEN = "\ufffd"


class Voice:
    """One answer, whose pieces in a row are its text. An answer for SQL ends with its statement,
    which shows only behind it (`whole`): nothing of it is said before its end. `said`: characters
    so far."""

    def __init__(self, tokenizer, *, stop: Sequence[str] = (), whole: bool = False) -> None:
        self._tokenizer = tokenizer
        self._stop = stop
        self._whole = whole
        self._text = ""
        self.said = 0
        # A token's text may depend on the one before: tokens are decoded from `_begin` on, of which
        # those before `_end` are in the text already.
        self._begin = self._end = 0

    def go_on(self, token_ids: Sequence[int]) -> str:
        """What is new, of all tokens so far. An answer that begins again says nothing until it is
        as far as it was."""
        if self._whole or len(token_ids) <= self._end:
            return ""
        before = self._decode(token_ids[self._begin : self._end])
        text = self._decode(token_ids[self._begin :])
        if text.endswith(BROKEN):
            return ""
        self._text += text[len(before) :]
        self._begin, self._end = self._end, len(token_ids)
        return self._say(self._text, len(self._text) - self._held())

    def end(self, text: str) -> str:
        """What is left to be said, if this is the whole answer."""
        return self._say(text, len(text))

    def _say(self, text: str, end: int) -> str:
        said = text[self.said : end]
        self.said = max(self.said, end)
        return said

    def _held(self) -> int:
        """How many characters at the end may be the beginning of a stop string."""
        longest = max(map(len, self._stop), default=1) - 1
        for count in range(min(longest, len(self._text)), 0, -1):
            if any(stop.startswith(self._text[-count:]) for stop in self._stop):
                return count
        return 0

    def _decode(self, token_ids: Sequence[int]) -> str:
        return self._tokenizer.decode(token_ids, skip_special_tokens=True)
