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

from workers.ml.packing import Example, Group, common_prefix, families
from workers.ml.quantization import evaluation

FREE_SHARE = 0.2  # of the free memory that may hold what the lower layers give
TOLERANCE = 1e-3  # of the largest number: the products are the same, so all but rounding is a fault


class Indivisible(Exception):
    """The model is not what its lower layers and then its upper ones give; says so in words."""


def first_adapted_layer(model: PeftModel) -> int:
    """Number of the first decoder layer with a trainable weight; 0 where any other has one."""
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    numbers = [re.search(r"\.layers\.(\d+)\.", name) for name in trained]
    return min((int(number[1]) if number else 0 for number in numbers), default=0)


def kept_bytes(model: PeftModel, examples: Sequence[Example], *, share_prefix: bool) -> int:
    tokens = 0
    for family in _families(examples, share_prefix):
        shared = common_prefix(family) if share_prefix else 0
        tokens += shared + sum(len(example) - shared for example in family)
    return tokens * model.config.hidden_size * model.dtype.itemsize


def has_room(
    model: PeftModel, examples: Sequence[Example], *, share_prefix: bool, free: int
) -> bool:
    """Whether there are layers that run once, and of `free` bytes enough for what comes out of
    them."""
    size = kept_bytes(model, examples, share_prefix=share_prefix)
    return first_adapted_layer(model) > 0 and size <= FREE_SHARE * free


class LowerStates:
    """Hidden states at the input of the first adapted layer for each of `examples`, what the
    prompts of a family begin with once (`share_prefix` as the groups are packed). `fill` computes
    them; `row` puts those of a group together as `[1, T, d]`."""

    def __init__(
        self, model: PeftModel, examples: Sequence[Example], *, share_prefix: bool = True
    ) -> None:
        self.decoder = model.get_base_model().get_decoder()
        if not hasattr(self.decoder, "layers") or not hasattr(self.decoder, "norm"):
            raise Indivisible("this architecture keeps its layers in another way")
        self.layers, self.first = self.decoder.layers, first_adapted_layer(model)
        self.family: dict[int, int] = {}
        self.shared: list[int] = []
        for number, family in enumerate(_families(examples, share_prefix)):
            self.family.update({id(example): number for example in family})
            self.shared.append(common_prefix(family) if share_prefix else 0)
        self.prefixes: dict[int, Tensor] = {}
        self.kept: dict[int, Tensor] = {}

    @torch.no_grad()
    def fill(self, group: Group) -> None:
        """Runs the lower layers on a group and keeps what comes out."""
        lower = self._layers(self.layers[: self.first])
        with evaluation(self.decoder), lower, self._without_norm():
            states = self.decoder(
                input_ids=group.input_ids,
                position_ids=group.position_ids,
                layout=group.layout,
                use_cache=False,
            ).last_hidden_state[0]
        for tree, example, own in group.places():
            family = self.family[id(example)]
            whole = torch.cat([states[tree.start : tree.trunk_end], states[own]])
            shared = self.shared[family]
            if family not in self.prefixes:
                self.prefixes[family] = whole[:shared].clone()
            self.kept[id(example)] = whole[shared:].clone()

    @torch.no_grad()
    def require_same(self, group: Group) -> None:
        """Tries a filled group out; Indivisible unless the upper layers make of it what the whole
        decoder does. Some architectures scale whatever comes in, or know a layer by its number."""
        rest = {"position_ids": group.position_ids, "layout": group.layout, "use_cache": False}
        with evaluation(self.decoder):
            whole = self.decoder(input_ids=group.input_ids, **rest).last_hidden_state
            with self.upper_layers():
                apart = self.decoder(inputs_embeds=self.row(group), **rest).last_hidden_state
        whole, apart = (states[0, group.label_positions] for states in (whole, apart))
        if (whole - apart).abs().max() > TOLERANCE * whole.abs().max():
            raise Indivisible("this architecture's upper layers can't be run apart")

    @property
    def kept_bytes(self) -> int:
        kept = [*self.prefixes.values(), *self.kept.values()]
        return sum(states.numel() * states.itemsize for states in kept)

    def covers(self, group: Group) -> bool:
        return all(id(example) in self.kept for example in group.examples)

    def row(self, group: Group) -> Tensor:
        some = next(iter(self.kept.values()))
        row = some.new_zeros(1, group.input_ids.shape[1], some.shape[1])
        for tree, example, own in group.places():
            if own.start == tree.trunk_end:  # the tree's first
                row[0, tree.start : tree.trunk_end] = self._states(example, 0, tree.prefix)
            row[0, own] = self._states(example, tree.prefix, len(example))
        return row

    def _states(self, example: Example, start: int, end: int) -> Tensor:
        """Those of an example's tokens from `start` up to `end`."""
        prefix, own = self.prefixes[self.family[id(example)]], self.kept[id(example)]
        shared = len(prefix)
        behind = slice(max(0, start - shared), max(0, end - shared))
        return torch.cat([prefix[start:end], own[behind]])

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


def _families(examples: Sequence[Example], share_prefix: bool) -> Sequence[Sequence[Example]]:
    return families(examples) if share_prefix else [examples]
