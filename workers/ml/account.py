"""The tokens of an answer, told as its text is said: each once, with what the model gave it.

Knows how tokens are spelled; no model, and not who is told.
"""

from codecs import utf_8_decode
from collections.abc import Iterator, Sequence
from typing import Any

from workers.ml.scores import Score
from workers.ml.spelling import Spelling

Told = dict[str, Any]
"""A token as OpenAI shows it: `token`, `logprob`, `bytes`, `top_logprobs`."""


class Account:
    """One answer, whose tokens' bytes in a row are its text. Those that the text does not show, or
    that were cut from it, are not told; of one that was cut in the middle only what is left is."""

    def __init__(self, spelling: Spelling) -> None:
        self._spelling = spelling
        self._next = 0
        self._first = True
        # Of the text up to the next token: whole characters, and the bytes of one that is not.
        self._whole = 0
        self._part = b""

    def go_on(self, token_ids: Sequence[int], scores: Sequence[Score], said: int) -> list[Told]:
        """What is new, of all tokens so far, in the first `said` characters of the text. An answer
        that begins again tells nothing until it is as far as it was."""
        return [*self._tell(token_ids, scores, said, over=False)]

    def end(self, token_ids: Sequence[int], scores: Sequence[Score], length: int) -> list[Told]:
        """What is left, where the whole text has so many characters."""
        return [*self._tell(token_ids, scores, length, over=True)]

    def _tell(
        self, token_ids: Sequence[int], scores: Sequence[Score], length: int, *, over: bool
    ) -> Iterator[Told]:
        while self._next < len(token_ids):
            token, score = token_ids[self._next], scores[self._next]
            spelled = self._spelling.of(token, first=self._first)
            if not over and self._reach(spelled) > length:
                return
            shown = self._within(spelled, length)
            if shown:
                yield {
                    **_named(shown),
                    "logprob": score.logprob,
                    "top_logprobs": [self._other(*one) for one in score.best],
                }
            self._pass(token, shown)
            if shown != spelled:  # what comes behind a cut could complete a character before it
                self._next = len(token_ids)

    def _other(self, token: int, logprob: float) -> Told:
        spelled = self._spelling.of(token, first=self._first)
        named = _named(spelled) if spelled else {"token": self._spelling.name(token), "bytes": None}
        return {**named, "logprob": logprob}

    def _pass(self, token: int, shown: bytes) -> None:
        self._next += 1
        self._first = self._first and not self._spelling.of(token, first=False)
        self._whole, self._part = self._with(shown)

    def _within(self, spelled: bytes, length: int) -> bytes:
        while spelled and self._reach(spelled) > length:
            spelled = spelled[:-1]
        return spelled

    def _reach(self, shown: bytes) -> int:
        """How many characters the text has with these bytes; a part of one is one."""
        whole, part = self._with(shown)
        return whole + bool(part)

    def _with(self, shown: bytes) -> tuple[int, bytes]:
        new = self._part + shown
        text, used = utf_8_decode(new, "replace", False)
        return self._whole + len(text), new[used:]


def _named(shown: bytes) -> Told:
    return {"token": shown.decode("utf-8", "replace"), "bytes": [*shown]}
