"""Drafts of what a row says next, looked up in texts. Knows tokens; no model.

An answer often repeats its prompt: names of tables and columns from the schema, values from the
question, its own clauses. And it repeats what others have been told: on one database the same joins
and conditions come again and again. The tokens that followed the last few ones earlier are tried as
a draft (prompt lookup decoding, Saxena 2023; from other answers: REST, arXiv 2311.08252); the
engine verifies them in one forward.
"""

from collections.abc import Iterable, Sequence

# How many last tokens are looked up, longest first, and how many are drafted behind them.
MATCHES = (6, 4, 3, 2, 1)
DRAFT = 8
# After so many tokens a new generation of answers begins, and all but the last one are forgotten;
# of one answer so many count.
HEARD_TOKENS = 4096
# Tokens a step from which on drafts of what was heard pay for many rows too: such a step takes up
# to 1.9 times as long as one without.
PAYS = 2.5
NEWEST = 0.2  # an answer's weight in what is expected of the next one


class Phrases:
    """Texts, and what followed each run of MATCHES tokens in them, the last time it stood there."""

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._next: dict[tuple[int, ...], int] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, token_ids: Iterable[int]) -> None:
        """Behind what is there: runs reach over the seam."""
        for token in token_ids:
            end = len(self._ids)
            for length in MATCHES:
                if length <= end:
                    self._next[tuple(self._ids[end - length : end])] = end
            self._ids.append(token)

    def last(self, length: int) -> tuple[int, ...]:
        """The run that it ends with."""
        return tuple(self._ids[-length:])

    def after(self, run: tuple[int, ...], count: int) -> list[int]:
        """Up to `count` tokens behind a run; behind the end what was copied is copied again."""
        start = self._next.get(run)
        if start is None:
            return []
        period = len(self._ids) - start
        tokens = self._ids[start : start + count]
        return [tokens[i % period] for i in range(count)]


class Heard:
    """Answers that were given of late, for those who ask the same model about the same matter. They
    show in how fast others are answered, so that those who share them should trust each other."""

    def __init__(self) -> None:
        self._new, self._old = Phrases(), Phrases()
        self._tokens_a_step = 1.0

    @property
    def pays(self) -> bool:
        """Whether drafts from here would have made the answers of late so much shorter in steps
        that they are worth it for many rows at a time."""
        return self._tokens_a_step >= PAYS

    def add(self, token_ids: Sequence[int]) -> None:
        """An answer, to its end."""
        token_ids = token_ids[:HEARD_TOKENS]
        self._tokens_a_step += NEWEST * (self._tried_on(token_ids) - self._tokens_a_step)
        if len(self._new) >= HEARD_TOKENS:
            self._new, self._old = Phrases(), self._new
        self._new.add(token_ids)

    def after(self, run: tuple[int, ...], count: int) -> list[int]:
        return self._new.after(run, count) or self._old.after(run, count)

    def _tried_on(self, answer: Sequence[int]) -> float:
        """The tokens a step that an answer would have had with drafts from here alone."""
        at = steps = 0
        while at < len(answer):
            runs = (tuple(answer[at - length : at]) for length in MATCHES if length <= at)
            found = next(filter(None, (self.after(run, DRAFT) for run in runs)), [])
            at += 1 + agreement(found, answer[at : at + DRAFT])
            steps += 1
        return len(answer) / max(steps, 1)


class Lookup:
    """Drafts for one answer, out of its own text (a prompt, then what was generated) and what else
    was heard. The longest run that is found counts, and of equal ones that of the own text."""

    def __init__(self, prompt_ids: Iterable[int], heard: Heard | None = None) -> None:
        self._own = Phrases()
        self._own.add(prompt_ids)
        self._prompt = len(self._own)
        self._texts = [self._own] if heard is None else [self._own, heard]

    def draft(self, tokens: Sequence[int], count: int) -> list[int]:
        """Up to `count` tokens that may follow prompt + `tokens`, which is what was generated; it
        only grows from call to call."""
        self._own.add(tokens[len(self._own) - self._prompt :])
        for run in map(self._own.last, MATCHES):
            for text in self._texts:
                if found := text.after(run, count):
                    return found
        return []


def agreement(draft: Sequence[int], said: Sequence[int]) -> int:
    """As many tokens of a draft as hold."""
    right = 0
    while right < min(len(draft), len(said)) and draft[right] == said[right]:
        right += 1
    return right
