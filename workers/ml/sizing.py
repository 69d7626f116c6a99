"""How many examples make a group: by the estimate, the free memory and what was learned of it.

Knows lengths of examples and sizes of a model; no loop and no device's name.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from workers.ml import memory
from workers.ml.packing import Example, common_prefix, rounded

ACTIVATION_SHARE = 0.5  # of the free memory that a group's activations may take


@dataclass(frozen=True)
class Need:
    """The largest group of its kind, and the bytes that it takes by estimate."""

    tokens: int
    labels: int
    need_bytes: int


class Sizing:
    """Sizes of groups of `examples`, at worst: as if the longest came together.

    `layers` are those that keep something for the backward pass. `ceiling` is a need that has been
    too much for such a device before; `budget` the bytes that may be taken.
    """

    def __init__(
        self,
        config,
        examples: Sequence[Example],
        *,
        layers: int,
        itemsize: int,
        share_prefix: bool,
        budget: float = float("inf"),
        ceiling: int | None = None,
    ) -> None:
        self.config, self.layers, self.itemsize = config, layers, itemsize
        self.longest = sorted(examples, key=len, reverse=True)
        self.prefix = common_prefix(examples) if share_prefix else 0
        self.budget = budget
        self.ceiling = float("inf") if ceiling is None else ceiling

    def shape(self, micro_batch: int) -> dict[str, int]:
        """Tokens, labels and pairs of tokens that attend to each other."""
        group = self.longest[:micro_batch]
        longest = len(group[0])
        return {
            "tokens": rounded(self.prefix + sum(rounded(len(one) - self.prefix) for one in group)),
            "labels": sum(len(one.completion_ids) for one in group),
            "pairs": self.prefix**2 + len(group) * (longest - self.prefix) * longest,
        }

    def need(self, micro_batch: int, gradient_checkpointing: bool) -> Need:
        shape = self.shape(micro_batch)
        need = memory.group_bytes(
            self.config,
            **shape,
            layers=self.layers,
            itemsize=self.itemsize,
            gradient_checkpointing=gradient_checkpointing,
        )
        return Need(shape["tokens"], shape["labels"], need)

    def fits(self, micro_batch: int, gradient_checkpointing: bool) -> bool:
        """Whether there is room, by the estimate."""
        return self.need(micro_batch, gradient_checkpointing).need_bytes <= self.budget

    def failed_before(self, micro_batch: int, gradient_checkpointing: bool) -> bool:
        """Whether as much has been too much for such a device."""
        return self.need(micro_batch, gradient_checkpointing).need_bytes >= self.ceiling
