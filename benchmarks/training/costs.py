"""The cost model: what an example costs in multiplications, so what a ratio would be at best.

Counted are the matrix products with the model's weights: 2 operations a weight and token forward,
as many for the gradient of a layer's input (the weights are frozen), and the forward once more
under gradient checkpointing. Left out: attention, LoRA (a few per cent), memory traffic.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Weights of all decoder layers, and of the head."""

    trunk: int
    head: int

    @classmethod
    def of(cls, config) -> "Sizes":
        d, heads, keys = config.hidden_size, config.num_attention_heads, config.num_key_value_heads
        width = getattr(config, "head_dim", None) or d // heads
        attention = d * width * (2 * heads + 2 * keys)
        layer = attention + 3 * d * config.intermediate_size
        return cls(trunk=layer * config.num_hidden_layers, head=config.vocab_size * d)


@dataclass(frozen=True)
class Cost:
    """Of one example: tokens that pass the layers, positions that pass the head, how often."""

    tokens: float
    positions: float
    passes: int = 2

    def operations(self, sizes: Sizes) -> float:
        return 2 * self.passes * (self.tokens * sizes.trunk + self.positions * sizes.head)


def ours(prefix: float, own: float, labels: float, group: int) -> Cost:
    return Cost(prefix / group + own, labels)


def classic(length: int) -> Cost:
    return Cost(length, length, passes=3)


def whole_rows(prefix: float, own: float) -> Cost:
    """Every row by itself, none padded, the head on every position."""
    return Cost(prefix + own, prefix + own)
