"""How the next token is chosen and how long a row may go on. Knows no text."""

from dataclasses import dataclass

import torch
from torch import Tensor

GOLDEN_RATIO = 0x9E3779B97F4A7C15  # in 64 bits: its multiples lie far apart


@dataclass(frozen=True)
class Sampling:
    """Greedy at temperature 0. A row's draws depend on `seed` alone, not on its neighbours.

    `n` answers to one prompt, each drawn apart; the first is the one that n = 1 would give.
    `stop`: strings that end the answer and are cut from it. `sql`: end it with the statement.
    `logprobs`: each token comes with its score, and with so many of the best of its place.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    n: int = 1
    stop: tuple[str, ...] = ()
    sql: bool = False
    logprobs: int | None = None

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n must be at least 1, not {self.n}: who asks wants an answer")


def generator_of(sampling: Sampling, index: int) -> torch.Generator:
    """What the draws of a prompt's answer number `index` come from; requests whose seeds are near
    each other share none."""
    seed = (sampling.seed + index * GOLDEN_RATIO) % (1 << 63)
    return torch.Generator().manual_seed(seed)


def greedy(logits: Tensor) -> tuple[list[int], list[bool]]:
    """The best token of each row of [n, vocabulary], of equals the first, as transformers does; and
    whether the row's logits are numbers."""
    # Several times faster than `argmax` on a CPU. It is NaN where any of the row is.
    best = logits.max(-1)
    return best.indices.tolist(), best.values.isfinite().tolist()


def draw(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """One token from [vocabulary] logits: temperature, then the smallest set holding `top_p`, which
    holds the best token however small it is. At a temperature beyond which they are no numbers, the
    best."""
    chances, order = torch.softmax(logits.float() / sampling.temperature, -1).sort(descending=True)
    if not chances[0].isfinite():
        return int(logits.argmax())
    beyond = chances.cumsum(0) - chances >= sampling.top_p
    beyond[0] = False
    chances = chances.masked_fill(beyond, 0.0).cpu()
    return int(order[torch.multinomial(chances, 1, generator=generator).to(order.device)])
