"""Several LoRA adapters live on one model, each token with its own. Knows layers; no rows.

Every linear layer holds the low-rank weights of all adapters in two stacks. A step whose tokens
belong to different adapters is computed by adapter: in one padded batched product where each has
about as many tokens (a decode step), else in a product for each run of tokens (the idea of Punica's
SGMV, arXiv 2310.18547). Weights of PEFT's format are read by PEFT itself, on a model without
weights.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import JobFailure
from workers.ml.loading import LoadedModel, load_adapter

# The padded product may compute so many times the tokens that there are.
MOST_PADDING = 2
# Grouped products want rows of 16 bytes.
RANK_MULTIPLE = 8

LowRank = tuple[Tensor, Tensor]  # A [r, in] and the scaled B^T [r, out]


@dataclass(frozen=True)
class Mix:
    """Which adapter's slot each of a step's tokens is for. `only`: one for all.

    Else `order` [T] are the tokens by slot and `ends` [slots] where those of each slot end. Where
    it pays, `padded` [slots * n] are the tokens with each slot's filled up to n, and `places` [T]
    is where each token stands in that.
    """

    only: int | None = 0
    order: Tensor | None = None
    ends: Tensor | None = None
    padded: Tensor | None = None
    places: Tensor | None = None

    @classmethod
    def of(cls, slots: Tensor, count: int) -> "Mix":
        """`slots` [T]: each token's, of `count` there are."""
        order = slots.argsort(stable=True)
        sizes = slots.bincount(minlength=count)
        ends = sizes.cumsum(0)
        width = int(sizes.max())
        mix = cls(None, order, ends.to(torch.int32))
        if count * width > MOST_PADDING * len(slots):
            return mix
        by_slot = slots[order]
        stands = by_slot * width + torch.arange(len(slots), device=slots.device)
        stands -= (ends - sizes)[by_slot]
        padded = slots.new_zeros(count * width)
        padded[stands] = order
        places = torch.empty_like(order)
        places[order] = stands
        return replace(mix, padded=padded, places=places)


class Stack:
    """The low-rank weights of one linear layer: [slots, r, in] and [slots, r, out], of rank zero
    where an adapter leaves the layer as it is. `rank` is the largest, zero if all do."""

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        device = layer.weight.device
        self.rank = 0
        self._ranks: list[int] = []
        self._down = torch.zeros(0, 0, layer.in_features, dtype=dtype, device=device)
        self._up = torch.zeros(0, 0, layer.out_features, dtype=dtype, device=device)

    @property
    def widths(self) -> tuple[int, int]:
        return self._down.shape[2], self._up.shape[2]

    def append(self, weights: LowRank | None) -> None:
        """Where it raises, nothing has changed."""
        down, up = weights or (self._down.new_zeros(0, width) for width in self.widths)
        ranks = [*self._ranks, len(down)]
        depth = _depth(ranks)
        down, up = down[None].to(self._down), up[None].to(self._up)
        self._hold(
            ranks,
            torch.cat([_to_depth(self._down, depth), _to_depth(down, depth)]),
            torch.cat([_to_depth(self._up, depth), _to_depth(up, depth)]),
        )

    def take_back(self) -> None:
        """As if the last `append` had not been. Asks for no memory, and gives none back before the
        next change: it is called where there is none left."""
        self._hold(self._ranks[:-1], self._down[:-1], self._up[:-1])

    def remove(self, slot: int) -> None:
        """The last slot's weights take its place."""
        keep = [*range(len(self._ranks) - 1)]
        if slot < len(keep):
            keep[slot] = len(self._ranks) - 1
        ranks = [self._ranks[kept] for kept in keep]
        depth = _depth(ranks)
        self._hold(ranks, _to_depth(self._down[keep], depth), _to_depth(self._up[keep], depth))

    def add_to(self, out: Tensor, x: Tensor, mix: Mix) -> None:
        """out [T, out] += x A^T (s B)^T for x [T, in], each token with its own A and B."""
        if mix.only is not None:
            down, up = self._slots[mix.only]
            if len(down):
                out.addmm_(F.linear(x, down), up)
        elif mix.padded is not None:
            block = x.index_select(0, mix.padded).unflatten(0, (len(self._ranks), -1))
            more = torch.bmm(torch.bmm(block, self._down.mT), self._up).flatten(0, 1)
            out += more.index_select(0, mix.places)
        else:
            narrow = F.grouped_mm(x.index_select(0, mix.order), self._down.mT, offs=mix.ends)
            out.index_add_(0, mix.order, F.grouped_mm(narrow, self._up, offs=mix.ends))

    def _hold(self, ranks: list[int], down: Tensor, up: Tensor) -> None:
        self._ranks, self._down, self._up, self.rank = ranks, down, up, max(ranks)
        self._slots = [(down[i, :rank], up[i, :rank]) for i, rank in enumerate(ranks)]


class Adapters:
    """The adapters of a model by name; None is the model as it was loaded, an adapter that is live
    on it included. `mix` is that of the next forward."""

    def __init__(self, model: nn.Module) -> None:
        self.names: list[str | None] = [None]
        self.mix = Mix()
        self.stacks = _stacks_of(model)
        self._paths = {path: m for path, m in model.named_modules() if m in self.stacks}

    def __contains__(self, name: str | None) -> bool:
        return name in self.names

    def add(self, name: str, weights: dict[str, LowRank]) -> None:
        """`weights` by the paths of linear layers. JobFailure (config) where the name is taken or
        a path is none of a layer that takes adapters. Where memory runs out on the way, nothing of
        it stays."""
        if name in self.names:
            raise JobFailure("config", f"an adapter {name!r} is loaded already")
        if odd := sorted(weights.keys() - self._paths.keys()):
            raise JobFailure("config", f"adapter {name!r} adapts {odd[0]}, which can't be mixed")
        added: list[Stack] = []
        try:
            for path, module in self._paths.items():
                self.stacks[module].append(weights.get(path))
                added.append(self.stacks[module])
        except BaseException:
            # Else the next adapter's slot would be another one in these layers.
            for stack in added:
                stack.take_back()
            raise
        self.names.append(name)

    def remove(self, name: str) -> None:
        slot = self.names.index(name)
        for stack in self.stacks.values():
            stack.remove(slot)
        self.names[slot] = self.names[-1]
        self.names.pop()

    def assign(self, runs: Sequence[tuple[str | None, int]], device: str) -> None:
        """The next forward's tokens, as adapters with how many tokens in a row are for each."""
        if len({name for name, _ in runs}) == 1:
            self.mix = Mix(self.names.index(runs[0][0]))
            return
        slots = [slot for name, count in runs for slot in [self.names.index(name)] * count]
        self.mix = Mix.of(torch.tensor(slots, device=device), len(self.names))


def read_adapter(loaded: LoadedModel, directory: Path) -> dict[str, LowRank]:
    """The weights of an adapter for `loaded`, by the paths of its linear layers.

    JobFailure (config) as `loading.load_adapter` raises it, and for what can't be mixed: DoRA,
    biases, modules that are trained whole.
    """
    adapted = load_adapter(replace(loaded, model=_skeleton(loaded)), directory).model
    config = adapted.peft_config["default"]
    if config.modules_to_save or config.bias != "none":
        raise JobFailure("config", "an adapter with biases or whole modules can't be mixed")
    found = {}
    for path, module in adapted.get_base_model().named_modules():
        if not hasattr(module, "lora_A"):
            continue
        if not is_plain_lora(module):
            raise JobFailure("config", f"the adapter on {path} is no plain LoRA; it can't be mixed")
        found[path] = low_rank(module)
    return found


def is_plain_lora(module: nn.Module) -> bool:
    """A PEFT layer with one active adapter that only adds a low-rank product to a linear layer."""
    from peft.tuners.lora.layer import LoraLayer

    if not isinstance(module, LoraLayer) or not isinstance(module.base_layer, nn.Linear):
        return False
    names = module.active_adapters
    return (
        len(names) == 1
        and names[0] in module.lora_A
        and names[0] not in module.lora_variant
        and module.lora_B[names[0]].bias is None
        and not module.merged
        and not module.disable_adapters
    )


def low_rank(module: nn.Module) -> LowRank:
    name = module.active_adapters[0]
    down, up = module.lora_A[name].weight.detach(), module.lora_B[name].weight.detach()
    return down, (up * module.scaling[name]).t()


def _stacks_of(model: nn.Module) -> dict[nn.Module, Stack]:
    """For each linear layer of the decoder that may carry adapters, as the outermost module that
    stands for it; the first slot holds what is live on it."""
    dtype, head = model.get_input_embeddings().weight.dtype, model.get_output_embeddings()
    stacks: dict[nn.Module, Stack] = {}
    inner: set[nn.Module] = set()
    for module in model.modules():
        if module in inner or module is head:
            continue
        live = is_plain_lora(module)
        if hasattr(module, "lora_A"):
            inner.update(module.modules())
        if live or isinstance(module, nn.Linear) and not hasattr(module, "lora_A"):
            stacks[module] = Stack(module.base_layer if live else module, dtype)
            stacks[module].append(low_rank(module) if live else None)
    return stacks


def _skeleton(loaded: LoadedModel) -> nn.Module:
    """The base model with all its layers in shape, each weight one zero that fills no memory."""
    base = loaded.model
    base = base.get_base_model() if hasattr(base, "get_base_model") else base
    with torch.device("meta"):
        skeleton = type(base)(copy.deepcopy(base.config))
    zero = torch.zeros((), dtype=loaded.dtype)
    for module in skeleton.modules():
        for name, weight in module.named_parameters(recurse=False):
            still = nn.Parameter(zero.expand(weight.shape), requires_grad=False)
            setattr(module, name, still)
    return skeleton


def _depth(ranks: Sequence[int]) -> int:
    return -(-max(ranks) // RANK_MULTIPLE) * RANK_MULTIPLE


def _to_depth(stack: Tensor, depth: int) -> Tensor:
    """[slots, r, width] cut or filled up with zeros to [slots, depth, width]."""
    return F.pad(stack[:, :depth], (0, 0, 0, max(0, depth - stack.shape[1])))
