"""Several LoRA adapters live on one model, each token with its own. Knows layers; no rows.

Every linear layer holds the low-rank weights of all adapters in two stacks. A step whose tokens
belong to different adapters is computed by adapter: in one padded batched product where each has
about as many tokens (a decode step), else adapter by adapter (the idea of Punica's SGMV, arXiv
2310.18547, in ordinary products). Weights of PEFT's format are read by PEFT itself, on a model
without weights.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import JobFailure
from workers.ml.grouping import Padded, padded
from workers.ml.loading import LoadedModel, load_adapter

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
    """The low-rank weights of one linear layer: [slots, r, in] and [slots, r, out], of rank zero
    where an adapter leaves the layer as it is. `rank` is the largest, zero if all do. On a CPU they
    are held in fp32."""

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        device = layer.weight.device
        dtype = torch.float32 if device.type == "cpu" else dtype
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
        depth = max(ranks)
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
        depth = max(ranks)
        self._hold(ranks, _to_depth(self._down[keep], depth), _to_depth(self._up[keep], depth))

    def add_to(self, out: Tensor, x: Tensor, mix: Mix) -> None:
        """out [T, out] += x A^T (s B)^T for x [T, in], each token with its own A and B."""
        few = FEW_TOKENS if mix.only is not None else FEW_TOKENS_MIXED
        dtype = self._down.dtype if len(x) <= few else x.dtype
        if mix.only is not None:
            down, up = self._slots[mix.only]
            if len(down):
                _add_product(out, x, down.to(dtype), up.to(dtype))
        elif mix.together is not None:
            down, up = self._down[mix.slots].to(dtype), self._up[mix.slots].to(dtype)
            block = x.to(dtype).index_select(0, mix.together.tokens).unflatten(0, (len(down), -1))
            more = torch.bmm(torch.bmm(block, down.mT), up).flatten(0, 1)
            out += more.index_select(0, mix.together.places)
        else:
            for slot, tokens in mix.apart:
                down, up = (one.to(x.dtype) for one in self._slots[slot])
                if len(down):
                    out.index_add_(0, tokens, F.linear(x.index_select(0, tokens), down) @ up)

    def _hold(self, ranks: list[int], down: Tensor, up: Tensor) -> None:
        self._ranks, self._down, self._up, self.rank = ranks, down, up, max(ranks)
        self._slots = [(down[i, :rank], up[i, :rank]) for i, rank in enumerate(ranks)]


class Adapters:
    """The adapters of a model by name; None is the model as it was loaded, an adapter that is live
    on it included. `mix` is that of the next forward."""

    def __init__(self, model: nn.Module) -> None:
        self.names: list[str | None] = [None]
        self.mix = Mix(only=0)
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
        slots = [slot for name, count in runs for slot in [self.names.index(name)] * count]
        self.mix = Mix.of(slots, device)


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


def _add_product(out: Tensor, x: Tensor, down: Tensor, up: Tensor) -> None:
    """out += x A^T (s B)^T, in the dtype of the weights."""
    narrow = F.linear(x.to(down.dtype), down)
    if out.dtype == up.dtype:
        out.addmm_(narrow, up)
    else:
        out += narrow @ up


def _to_depth(stack: Tensor, depth: int) -> Tensor:
    """[slots, r, width] cut or filled up with zeros to [slots, depth, width]."""
    return F.pad(stack[:, :depth], (0, 0, 0, max(0, depth - stack.shape[1])))
