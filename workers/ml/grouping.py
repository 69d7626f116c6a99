"""Tokens of several groups as one batch with equally many of each. Knows indices; no model."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

# A batch may be so many times the tokens that there are, and it may always have some: a few rows
# more are cheaper than a few products more.
MOST_PADDING, MUCH_PADDING = 2, 256


@dataclass(frozen=True)
class Padded:
    """`tokens` [groups * n]: those of each group, filled up with another. `places` [tokens]: where
    each stands in that, in the order of the tokens."""

    tokens: Tensor
    places: Tensor


def padded(groups: Sequence[Sequence[int]], device: str) -> Padded | None:
    """`groups`: the numbers of each one's tokens; some may have none. None where it doesn't pay."""
    count, width = sum(map(len, groups)), max(map(len, groups))
    if len(groups) * width > max(MOST_PADDING * count, MUCH_PADDING):
        return None
    tokens = chain.from_iterable([*own, *[0] * (width - len(own))] for own in groups)
    stands = sorted(
        (token, number * width + place)
        for number, own in enumerate(groups)
        for place, token in enumerate(own)
    )
    places = [place for _, place in stands]
    return Padded(torch.tensor([*tokens], device=device), torch.tensor(places, device=device))
