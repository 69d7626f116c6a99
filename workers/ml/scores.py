"""What the model gave the tokens that a row says, for those who ask for it. Knows no text.

It is that of the logits as they are, before temperature and top-p: what the model holds likely, not
how the answer was drawn.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

LEAST = -9999.0
"""OpenAI's word for what can hardly come; JSON has no infinity."""


class Score(NamedTuple):
    """A token's log probability; `best`: the likeliest tokens of its place, each with its own."""

    logprob: float
    best: list[tuple[int, float]]


def scores(logits: Tensor, tokens: Sequence[int], best: int) -> list[Score]:
    """Of the tokens that were said out of [n, vocabulary] logits, with the `best` of each place."""
    # One place after the other: nobody has counted on memory for all of them in float32.
    return [_score(place, token, best) for place, token in zip(logits, tokens, strict=True)]


def bounded(logprob: float) -> float:
    return max(logprob, LEAST)


def _score(logits: Tensor, token: int, best: int) -> Score:
    chances = logits.float().log_softmax(-1)
    own = bounded(float(chances[token]))
    # By a hair more, so that of equals, which bf16 often has, the one that was said comes first.
    chances[token] = torch.nextafter(chances[token], chances.new_tensor(1.0))
    found = chances.topk(min(best, len(chances)))
    pairs = zip(found.indices.tolist(), found.values.tolist(), strict=True)
    return Score(own, [(one, own if one == token else bounded(chance)) for one, chance in pairs])
