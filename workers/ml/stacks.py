"""Low-rank weights of several adapters for the linear layers that have one input, and their
products. Knows slots and tokens; no adapter's name, no file.

A step whose tokens belong to different adapters is computed by adapter: in one padded batched
product where each has about as many tokens (a decode step), else adapter by adapter (the idea of
Punica's SGMV, arXiv 2310.18547, in ordinary products). The first, narrow products of layers with
one input (q, k, v; gate, up) are one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workers.ml.grouping import Padded, padded

# Up to so many tokens the narrow products run in fp32 on a CPU: in bf16 oneDNN takes some 50 us for
# any product, however small (576 to 1,536 through rank 16: 54 to 12 us for one token, 56 to 42 for
# 16, 71 to 84 for 64; of 16 adapters 125 to 49, 140 to 83 and 155 to 169 us, but their weights need
# no cast).
FEW_TOKENS, FEW_TOKENS_MIXED = 32, 128

LowRank = tuple[Tensor, Tensor]  # A [r, in] and the scaled B^T [r, out]


@dataclass(frozen=True)
class Mix:
    """Which adapter's slot each of a step's tokens is for. `only`: one for all.

    Else, where padding pays, `together` are the tokens of `slots`, from the first that has some to
    the last; where it does not, `apart` are those of each slot that has some.
    """

    only: int | None = None
    slots: slice | None = None
    together: Padded | None = None
    apart: tuple[tuple[int, Tensor], ...] = ()

    @classmethod
    def of(cls, slots: Sequence[int], device: str = "cpu") -> "Mix":
        """`slots`: each token's."""
        first, last = min(slots), max(slots)
        if first == last:
            return cls(only=first)
        tokens: list[list[int]] = [[] for _ in range(first, last + 1)]
        for token, slot in enumerate(slots):
            tokens[slot - first].append(token)
        if (together := padded(tokens, device)) is not None:
            return cls(slots=slice(first, last + 1), together=together)
        apart = enumerate(tokens, start=first)
        return cls(apart=tuple((n, torch.tensor(own, device=device)) for n, own in apart if own))


class Stack:
    """The low-rank weights of `layers`, which have one input: A of all layers as one, [slots, sum
    of depths, in], and B^T of each, [slots, depth, out]. A layer's depth is its largest rank of all
    slots, zero if none adapts it; smaller ones are filled up with zeros. On a CPU they are held in
    fp32."""

    def __init__(self, layers: Sequence[nn.Linear], dtype: torch.dtype) -> None:
        device = layers[0].weight.device
        dtype = torch.float32 if device.type == "cpu" else dtype
        self._ranks: list[list[int]] = []  # of each slot, by layers
        self._depths = [0] * len(layers)
        self._down = torch.zeros(0, 0, layers[0].in_features, dtype=dtype, device=device)
        self._ups = [
            torch.zeros(0, 0, layer.out_features, dtype=dtype, device=device) for layer in layers
        ]

    @property
    def depth(self) -> int:
        """Zero if no adapter adapts any of the layers."""
        return sum(self._depths)

    def append(self, weights: Sequence[LowRank | None]) -> None:
        """A slot more, by layers. Where it raises, nothing has changed."""
        ranks = [*self._ranks, [0 if pair is None else len(pair[0]) for pair in weights]]
        depths = _depths(ranks)
        downs = [pair and pair[0] for pair in weights]
        ups = [pair and pair[1] for pair in weights]
        self._hold(
            ranks,
            torch.cat([self._downs(depths), _joined(downs, depths, like=self._down)]),
            [
                torch.cat([_to_depth(held, depth), _joined([up], [depth], like=held)])
                for held, up, depth in zip(self._ups, ups, depths, strict=True)
            ],
        )

    def take_back(self) -> None:
        """As if the last `append` had not been, but for the depths. Asks for no memory, and gives
        none back before the next change: it is called where there is none left."""
        self._ranks = self._ranks[:-1]
        self._down, self._ups = self._down[:-1], [up[:-1] for up in self._ups]

    def remove(self, slot: int) -> None:
        """The last slot's weights take its place. Asks for no memory, so that of many stacks all
        lose the same slot or none; what it took is given back by `trim`."""
        for held in (self._down, *self._ups):
            held[slot] = held[-1]
        self._ranks[slot] = self._ranks[-1]
        self.take_back()

    def trim(self) -> None:
        """Hold no more than the slots need. Where it raises, nothing has changed."""
        depths = _depths(self._ranks)
        ups = [_to_depth(up, depth).clone() for up, depth in zip(self._ups, depths, strict=True)]
        self._hold(self._ranks, self._downs(depths), ups)

    def add_to(self, outs: Sequence[Tensor], x: Tensor, mix: Mix) -> None:
        """out [T, out] += x A^T (s B)^T for each layer's out and x [T, in], each token with its own
        adapter's A and B."""
        few = FEW_TOKENS if mix.only is not None else FEW_TOKENS_MIXED
        dtype = self._down.dtype if len(x) <= few else x.dtype
        x = x.to(dtype)
        if mix.only is not None:
            self._add_only(outs, x, mix.only)
        elif mix.together is not None:
            self._add_together(outs, x, mix)
        else:
            for slot, tokens in mix.apart:
                self._add_apart(outs, x, slot, tokens)

    def _add_only(self, outs: Sequence[Tensor], x: Tensor, slot: int) -> None:
        if not any(self._ranks[slot]):
            return
        narrow = F.linear(x, self._down[slot].to(x.dtype))
        for out, part, up in self._by_layers(outs, narrow):
            up = up[slot].to(x.dtype)
            if out.dtype == up.dtype:
                out.addmm_(part, up)
            else:
                out += part @ up

    def _add_together(self, outs: Sequence[Tensor], x: Tensor, mix: Mix) -> None:
        down = self._down[mix.slots].to(x.dtype)
        block = x.index_select(0, mix.together.tokens).unflatten(0, (len(down), -1))
        narrow = torch.bmm(block, down.mT)
        for out, part, up in self._by_layers(outs, narrow):
            more = torch.bmm(part, up[mix.slots].to(x.dtype)).flatten(0, 1)
            out += more.index_select(0, mix.together.places)

    def _add_apart(self, outs: Sequence[Tensor], x: Tensor, slot: int, tokens: Tensor) -> None:
        if not any(self._ranks[slot]):
            return
        narrow = F.linear(x.index_select(0, tokens), self._down[slot].to(x.dtype))
        for out, part, up in self._by_layers(outs, narrow):
            out.index_add_(0, tokens, (part @ up[slot].to(x.dtype)).to(out.dtype))

    def _by_layers(
        self, outs: Sequence[Tensor], narrow: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The layers that any adapter adapts: out, its part of x A^T, B^T of all slots."""
        parts = narrow.split(self._depths, dim=-1)
        return (one for one in zip(outs, parts, self._ups, strict=True) if one[1].shape[-1])

    def _downs(self, depths: Sequence[int]) -> Tensor:
        """What is held of A, each layer's to its depth."""
        parts = self._down.split(self._depths, dim=1)
        return torch.cat([_to_depth(one, n) for one, n in zip(parts, depths, strict=True)], dim=1)

    def _hold(self, ranks: list[list[int]], down: Tensor, ups: list[Tensor]) -> None:
        self._ranks, self._depths, self._down, self._ups = ranks, _depths(ranks), down, ups


def _depths(ranks: Sequence[Sequence[int]]) -> list[int]:
    return [max(own) for own in zip(*ranks, strict=True)]


def _joined(parts: Sequence[Tensor | None], depths: Sequence[int], *, like: Tensor) -> Tensor:
    """[1, sum of depths, width]: one slot's weights of each layer, zeros for one without."""
    nothing = like.new_zeros(0, like.shape[2])
    slots = [(nothing if part is None else part)[None].to(like) for part in parts]
    return torch.cat([_to_depth(one, n) for one, n in zip(slots, depths, strict=True)], dim=1)


def _to_depth(stack: Tensor, depth: int) -> Tensor:
    """[slots, r, width] cut or filled up with zeros to [slots, depth, width]."""
    return F.pad(stack[:, :depth], (0, 0, 0, max(0, depth - stack.shape[1])))
