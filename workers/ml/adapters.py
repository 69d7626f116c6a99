"""Several LoRA adapters live on one model, each token with its own. Knows layers; no rows.

The low-rank weights of all of them lie in stacks, one for linear layers with one input. Weights of
PEFT's format are read by PEFT itself, on a model without weights.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from core.errors import JobFailure
from workers.ml.loading import LoadedModel, load_adapter
from workers.ml.siblings import base_of, linear_layers, siblings
from workers.ml.stacks import LowRank, Mix, Stack


class Adapters:
    """The adapters of a model by name; None is the model as it was loaded, an adapter that is live
    on it included. `mix` is that of the next forward."""

    def __init__(self, model: nn.Module) -> None:
        self.names: list[str | None] = [None]
        self.mix = Mix(only=0)
        self.stacks = _stacks_of(model)
        names = {module: path for path, module in model.named_modules()}
        self._paths = [[names[module] for module in modules] for modules in self.stacks]

    def __contains__(self, name: str | None) -> bool:
        return name in self.names

    def add(self, name: str, weights: dict[str, LowRank]) -> None:
        """`weights` by the paths of linear layers. JobFailure (config) where the name is taken or
        a path is none of a layer that takes adapters. Where memory runs out on the way, nothing of
        it stays."""
        if name in self.names:
            raise JobFailure("config", f"an adapter {name!r} is loaded already")
        if odd := sorted(weights.keys() - {path for paths in self._paths for path in paths}):
            raise JobFailure("config", f"adapter {name!r} adapts {odd[0]}, which can't be mixed")
        added: list[Stack] = []
        try:
            for stack, paths in zip(self.stacks.values(), self._paths, strict=True):
                stack.append([weights.get(path) for path in paths])
                added.append(stack)
        except BaseException:
            # Else the next adapter's slot would be another one in these layers.
            for stack in added:
                stack.take_back()
            raise
        self.names.append(name)

    def remove(self, name: str) -> None:
        """Also where memory runs out while what remains is laid out anew, it is gone."""
        slot = self.names.index(name)
        for stack in self.stacks.values():
            stack.remove(slot)
        self.names[slot] = self.names[-1]
        self.names.pop()
        for stack in self.stacks.values():
            stack.trim()

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


def _stacks_of(model: nn.Module) -> dict[tuple[nn.Module, ...], Stack]:
    """For the linear layers of the decoder that may carry adapters, those with one input together,
    as the outermost modules that stand for them; the first slot holds what is live on them."""
    dtype = model.get_input_embeddings().weight.dtype
    stacks: dict[tuple[nn.Module, ...], Stack] = {}
    for modules in siblings(model, _may_carry(model)):
        stacks[modules] = Stack([base_of(module) for module in modules], dtype)
        stacks[modules].append([low_rank(one) if is_plain_lora(one) else None for one in modules])
    return stacks


def _may_carry(model: nn.Module) -> Iterator[nn.Module]:
    head = model.get_output_embeddings()
    for layer in linear_layers(model):
        if layer is not head and (is_plain_lora(layer) or not hasattr(layer, "lora_A")):
            yield layer


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
