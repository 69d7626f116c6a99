"""What comes out of the layers below the first adapted one: computed once, kept for every epoch.

Those layers are frozen and nothing below them is trained, so that an example's hidden states there
never change. Knows the decoder's list of layers; no loop and no dataset.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from peft import PeftModel
from torch import Tensor, nn

from workers.ml import memory
from workers.ml.packing import Example, Group, common_prefix

FREE_SHARE = 0.2  # of the free memory that may hold what the lower layers give


def first_adapted_layer(model: PeftModel) -> int:
    """Number of the first decoder layer with a trainable weight; 0 where any other has one."""
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    numbers = [re.search(r"\.layers\.(\d+)\.", name) for name in trained]
    return min((int(number[1]) if number else 0 for number in numbers), default=0)


def kept_bytes(model: PeftModel, examples: Sequence[Example], *, share_prefix: bool) -> int:
    shared = common_prefix(examples) if share_prefix else 0
    size = model.config.hidden_size * model.dtype.itemsize
    return sum(len(example) - shared for example in examples) * size


def has_room(
    model: PeftModel, examples: Sequence[Example], *, share_prefix: bool, device: str
) -> bool:
    """Whether there are layers that run once, and memory for what comes out of them."""
    size = kept_bytes(model, examples, share_prefix=share_prefix)
    return first_adapted_layer(model) > 0 and size <= FREE_SHARE * memory.available(device)


class LowerStates:
    """Hidden states at the input of the first adapted layer for each of `examples`, the prompts'
    common prefix once (`share_prefix` as the groups are packed). `fill` computes them; `row` puts
    those of a group together as `[1, T, d]`."""

    def __init__(
        self, model: PeftModel, examples: Sequence[Example], *, share_prefix: bool = True
    ) -> None:
        self.decoder = model.get_base_model().get_decoder()
        self.layers, self.first = self.decoder.layers, first_adapted_layer(model)
        self.shared = common_prefix(examples) if share_prefix else 0
        self.prefix: Tensor | None = None
        self.kept: dict[int, Tensor] = {}

    @torch.no_grad()
    def fill(self, group: Group) -> None:
        """Runs the lower layers on a group and keeps what comes out."""
        with self._layers(self.layers[: self.first]), self._without_norm():
            states = self.decoder(
                input_ids=group.input_ids,
                position_ids=group.position_ids,
                layout=group.layout,
                use_cache=False,
            ).last_hidden_state[0]
        if self.prefix is None:
            self.prefix = states[: self.shared].clone()
        prefix = group.layout.prefix
        start = prefix
        for example in group.examples:
            end = start + len(example) - prefix
            self.kept[id(example)] = torch.cat([states[self.shared : prefix], states[start:end]])
            start = end

    @property
    def kept_bytes(self) -> int:
        return sum(states.numel() * states.itemsize for states in self.kept.values())

    def covers(self, group: Group) -> bool:
        return all(id(example) in self.kept for example in group.examples)

    def row(self, group: Group) -> Tensor:
        own = group.layout.prefix - self.shared
        kept = [self.kept[id(example)] for example in group.examples]
        padding = self.prefix.new_zeros(group.padding, self.prefix.shape[1])
        return torch.cat([self.prefix, kept[0][:own], *(k[own:] for k in kept), padding])[None]

    @contextmanager
    def upper_layers(self) -> Iterator[None]:
        """The decoder as its adapted part alone, to be called with `row` as embeddings."""
        with self._layers(self.layers[self.first :]):
            yield

    @contextmanager
    def _layers(self, layers: nn.ModuleList) -> Iterator[None]:
        self.decoder.layers = layers
        try:
            yield
        finally:
            self.decoder.layers = self.layers

    @contextmanager
    def _without_norm(self) -> Iterator[None]:
        norm, self.decoder.norm = self.decoder.norm, nn.Identity()
        try:
            yield
        finally:
            self.decoder.norm = norm
