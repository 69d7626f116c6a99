"""Drafts of what a row says next, looked up in texts. Knows tokens; no model.

An answer often repeats its prompt: names of tables and columns from the schema, values from the
question, its own clauses. And it repeats what others have been told: on one database the same joins
and conditions come again and again. The tokens that followed the last few ones earlier are tried as
a draft (prompt lookup decoding, Saxena 2023; from other answers: REST, arXiv 2311.08252); the
engine verifies them in one forward. The longer the run that is found, the more is drafted.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# How many last tokens are looked up, longest first. Behind a run of n come up to 2 n + 2 tokens:
# on GeoQuery's gold answers that takes 15 % fewer steps than 8 tokens behind any run, for as many
# tokens in all.
MATCHES = (12, 8, 6, 4, 3, 2, 1)
# So many tokens are drafted for one row, and for each of several: those are filled up to the
# longest, and each costs more where the products are no longer bound by reading the weights.
LONGEST = 16
DRAFT = 8
# The answers to so many questions that are most like a row's own come before all others (8 % fewer
# steps); as alike count prompts whose last so many tokens are the same.
ALIKE = 4
ASKED = 32
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


@dataclass(frozen=True)
class _Answer:
    """`asked`: the tokens of the question, `lead`: the last ones before the answer."""

    asked: frozenset[int]
    lead: Sequence[int]
    token_ids: Sequence[int]


class Heard:
    """Answers that were given of late, for those who ask the same model about the same matter. They
    show in how fast others are answered, so that those who share them should trust each other."""

    def __init__(self) -> None:
        self._new, self._old = Phrases(), Phrases()
        self._answers: deque[_Answer] = deque()
        self._tokens = 0
        self._tokens_a_step = 1.0

    @property
    def pays(self) -> bool:
        """Whether drafts from here would have made the answers of late so much shorter in steps
        that they are worth it for many rows at a time."""
        return self._tokens_a_step >= PAYS

    def add(self, token_ids: Sequence[int], prompt_ids: Sequence[int] = ()) -> None:
        """An answer, to its end, and what was asked."""
        token_ids = token_ids[:HEARD_TOKENS]
        self._tokens_a_step += NEWEST * (self._tried_on(token_ids) - self._tokens_a_step)
        if len(self._new) >= HEARD_TOKENS:
            self._new, self._old = Phrases(), self._new
        self._new.add(token_ids)
        self._answers.append(_Answer(_asked(prompt_ids), prompt_ids[-MATCHES[0] :], token_ids))
        self._tokens += len(token_ids)
        while self._tokens > HEARD_TOKENS:
            self._tokens -= len(self._answers.popleft().token_ids)

    def after(self, run: tuple[int, ...], count: int) -> list[int]:
        return self._new.after(run, count) or self._old.after(run, count)

    def alike(self, prompt_ids: Sequence[int]) -> Phrases:
        """The answers to the questions that are most like this one, the most alike the last, each
        behind the end of its prompt: what all prompts end with leads to its beginning."""
        asked, found = _asked(prompt_ids), Phrases()
        answers = sorted(self._answers, key=lambda one: _likeness(one.asked, asked))
        for one in answers[-ALIKE:]:
            found.add((*one.lead, *one.token_ids))
        return found

    def _tried_on(self, answer: Sequence[int]) -> float:
        """The tokens a step that an answer would have had with drafts from here alone."""
        at = steps = 0
        while at < len(answer):
            runs = (tuple(answer[at - length : at]) for length in MATCHES if length <= at)
            found = next(filter(None, (self.after(run, reach(run, DRAFT)) for run in runs)), [])
            at += 1 + agreement(found, answer[at : at + DRAFT])
            steps += 1
        return len(answer) / max(steps, 1)


class Lookup:
    """Drafts for one answer, out of its own text (a prompt, then what was generated) and what else
    was heard. The longest run that is found counts, and of equal ones that of the own text."""

    def __init__(self, prompt_ids: Sequence[int], heard: Heard | None = None) -> None:
        self._own = Phrases()
        self._own.add(prompt_ids)
        self._prompt = len(self._own)
        self._texts = [self._own]
        if heard is not None:
            self._texts += [heard.alike(prompt_ids), heard]

    def draft(self, tokens: Sequence[int], count: int) -> list[int]:
        """Up to `count` tokens that may follow prompt + `tokens`, which is what was generated; it
        only grows from call to call."""
        self._own.add(tokens[len(self._own) - self._prompt :])
        for run in map(self._own.last, MATCHES):
            for text in self._texts:
                if found := text.after(run, reach(run, count)):
                    return found
        return []


def reach(run: Sequence[int], count: int) -> int:
    """How many tokens are drafted behind a run that was found, of `count` at most."""
    return min(count, 2 * len(run) + 2)


def agreement(draft: Sequence[int], said: Sequence[int]) -> int:
    """As many tokens of a draft as hold."""
    right = 0
    while right < min(len(draft), len(said)) and draft[right] == said[right]:
        right += 1
    return right


def _asked(prompt_ids: Sequence[int]) -> frozenset[int]:
    return frozenset(prompt_ids[-ASKED:])


def _likeness(one: frozenset[int], other: frozenset[int]) -> float:
    """Jaccard's index."""
    return len(one & other) / max(len(one | other), 1)
