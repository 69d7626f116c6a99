"""What a training takes of memory, and how many examples make a group: by the estimate, the free
memory and what was learned of it.

Knows lengths of examples and sizes of a model; no loop and no device's name.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from core.training.examples import Example, common_prefix, families, rounded

ACTIVATION_SHARE = 0.5  # of the free memory that a group's activations may take
# Measured (benchmarks/training/memory.py; the table is in docs/training.md), and fitted so that the
# estimate lies above what a training took and, less the fixed part, below twice of it.
FIXED_BYTES = 600 << 20  # the optimizer, and the kernels that oneDNN makes for each length of a row
# Vectors that a decoder layer keeps for its backward pass: of the hidden and the intermediate size.
KEPT = 9, 4
KEPT_LEAN = 7, 2  # where norms and gates are computed again (`workers.ml.lean`)
WORKING_LAYERS = 12  # as much as so many keep, one layer's backward pass takes for itself at worst
HEAD_ROWS = 256  # labels whose logits exist at a time (`workers.ml.loss`): 50 MB at 49,152 of fp32
LOGIT_BYTES = 12  # of a logit: as it comes, its probability and its gradient


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
        self.labels = sorted((len(one.completion_ids) for one in examples), reverse=True)
        together = share_prefix and len(families(examples)) == 1
        self.prefix = common_prefix(examples) if together else 0
        self.budget = budget
        self.ceiling = float("inf") if ceiling is None else ceiling

    def shape(self, micro_batch: int) -> dict[str, int]:
        """Tokens and labels, at most. Of several families as if none shared anything."""
        own = sum(_padded(len(one) - self.prefix) for one in self.longest[:micro_batch])
        return {
            "tokens": rounded(self.prefix + own),
            "labels": sum(self.labels[:micro_batch]),
        }

    def need(self, micro_batch: int, gradient_checkpointing: bool) -> Need:
        shape = self.shape(micro_batch)
        need = group_bytes(
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


def _padded(length: int) -> int:
    """What `rounded` makes of it or of anything shorter, at most."""
    return length + length // 16


def group_bytes(
    config,
    *,
    tokens: int,
    labels: int,
    layers: int,
    itemsize: int,
    gradient_checkpointing: bool,
) -> int:
    """What a packed row of `tokens` takes for its forward and backward pass, by estimate: vectors
    of each of the `layers` that are trained (checkpointed: one a layer, and all of one layer), what
    a layer works with, and the logits of a block of `labels`. Attention goes by blocks: its scores
    are too few to count."""
    lean = hasattr(config, "rms_norm_eps") and getattr(config, "hidden_act", None) == "silu"
    hidden, intermediate = KEPT_LEAN if lean else KEPT
    layer = hidden * config.hidden_size + intermediate * config.intermediate_size
    kept = layer + layers * config.hidden_size if gradient_checkpointing else layer * layers
    kept += WORKING_LAYERS * layer
    logits = min(labels, HEAD_ROWS) * config.vocab_size * LOGIT_BYTES
    return FIXED_BYTES + tokens * kept * itemsize + logits
