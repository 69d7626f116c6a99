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

from workers.ml.packing import Example, Group, common_prefix


def first_adapted_layer(model: PeftModel) -> int:
    """Number of the first decoder layer with a trainable weight; 0 where any other has one."""
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    numbers = [re.search(r"\.layers\.(\d+)\.", name) for name in trained]
    return min((int(number[1]) if number else 0 for number in numbers), default=0)


def kept_bytes(
    examples: Sequence[Example], hidden_size: int, itemsize: int, *, share_prefix: bool
) -> int:
    shared = common_prefix(examples) if share_prefix else 0
    return sum(len(e) - shared for e in examples) * hidden_size * itemsize


class LowerStates:
    """Hidden states at the input of layer `first` for each of `examples`, the prompts' common
    prefix once (`share_prefix` as the groups are packed). `fill` computes them; `row` puts those
    of a group together as `[1, T, d]`."""

    def __init__(
        self,
        model: PeftModel,
        examples: Sequence[Example],
        *,
        first: int,
        share_prefix: bool = True,
    ) -> None:
        self.decoder = model.get_base_model().get_decoder()
        self.layers, self.first = self.decoder.layers, first
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

    def covers(self, group: Group) -> bool:
        return all(id(example) in self.kept for example in group.examples)

    def row(self, group: Group) -> Tensor:
        own = group.layout.prefix - self.shared
        kept = [self.kept[id(example)] for example in group.examples]
        return torch.cat([self.prefix, kept[0][:own], *(k[own:] for k in kept)])[None]

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
