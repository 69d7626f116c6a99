"""Drafts of what a row says next, looked up in its own text. Knows tokens; no model.

An answer often repeats its prompt: names of tables and columns from the schema, values from the
question, its own clauses. The tokens that followed the last few ones earlier are tried as a draft
(prompt lookup decoding, Saxena 2023); the engine verifies them in one forward.
"""

from collections.abc import Iterable, Sequence

# How many last tokens are looked up, longest first, and how many are drafted behind them.
MATCHES = (3, 2, 1)
DRAFT = 8


class Lookup:
    """What followed each run of MATCHES tokens in a text, the last time it stood there."""

    def __init__(self, token_ids: Iterable[int]) -> None:
        self._ids: list[int] = []
        self._next: dict[tuple[int, ...], int] = {}
        self._extend(token_ids)
        self._prompt = len(self._ids)

    def draft(self, tokens: Sequence[int], count: int) -> list[int]:
        """Up to `count` tokens that may follow prompt + `tokens`, which is what was generated; it
        only grows from call to call."""
        self._extend(tokens[len(self._ids) - self._prompt :])
        for length in MATCHES:
            start = self._next.get(tuple(self._ids[-length:]))
            if start is not None:
                return self._copied(start, count)
        return []

    def _copied(self, start: int, count: int) -> list[int]:
        """`count` tokens from `start`; behind the text's end what was copied is copied again."""
        period = len(self._ids) - start
        tokens = self._ids[start : start + count]
        return [tokens[i % period] for i in range(count)]

    def _extend(self, token_ids: Iterable[int]) -> None:
        for token in token_ids:
            end = len(self._ids)
            for length in MATCHES:
                if length <= end:
                    self._next[tuple(self._ids[end - length : end])] = end
            self._ids.append(token)
