"""A model while it generates: leaner forwards of its linear layers, fewer and cheaper calls.

PEFT's LoRA layer takes about twelve calls for what are two small products, and has one adapter for
all tokens; here each token has its own (`workers.ml.adapters`), beside the products of the base's
layers (`workers.ml.products`).
"""

from collections.abc import Iterator, Mapping
from functools import partial
from types import MethodType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workers.ml.adapters import Adapters
from workers.ml.products import Forward, products
from workers.ml.siblings import Together, base_of


class Inference:
    """A context in which a model infers: evaluation mode, no gradients, a chosen attention and the
    lean forwards. At its end the model is as it was, a training's own forwards included."""

    def __init__(
        self, model: nn.Module, *, attention: str, adapters: Adapters | None = None
    ) -> None:
        self.model = model
        self.attention = attention
        self._lean = lean_forwards(model, adapters or Adapters(model))
        self._modules = [*model.modules()]  # to walk through them takes 2 ms

    def __enter__(self) -> None:
        self._mode = torch.inference_mode()
        self._mode.__enter__()
        self._training = [module for module in self._modules if module.training]
        if self._training:
            self.model.eval()
        self._attention = self.model.config._attn_implementation
        self.model.config._attn_implementation = self.attention
        # What is set on a module itself hides its class's forward.
        self._own = [module.__dict__.get("forward") for module, _ in self._lean]
        for module, forward in self._lean:
            module.__dict__["forward"] = forward

    def __exit__(self, *error) -> None:
        for (module, _), own in zip(self._lean, self._own, strict=True):
            if own is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = own
        self.model.config._attn_implementation = self._attention
        for module in self._training:
            module.training = True
        self._mode.__exit__(*error)


def lean_forwards(model: nn.Module, adapters: Adapters) -> list[tuple[nn.Module, Forward]]:
    """Modules that have a leaner forward, with it: linear layers with the adapters that their
    tokens ask for, and those whose product has a leaner way."""
    bases = products(model)
    found = [pair for modules in adapters.stacks for pair in _adapted(modules, adapters, bases)]
    inner = {part for modules in adapters.stacks for one in modules for part in one.modules()}
    return found + [(layer, forward) for layer, forward in bases.items() if layer not in inner]


def _adapted(
    modules: tuple[nn.Module, ...], adapters: Adapters, bases: Mapping[nn.Module, Forward]
) -> Iterator[tuple[nn.Module, Forward]]:
    """x W^T and each token's x A^T (s B)^T, of layers with one input."""
    stack = adapters.stacks[modules]
    layers = [base_of(module) for module in modules]
    forwards = [bases.get(layer) or _own_forward(layer) for layer in layers]

    def compute(x: Tensor) -> list[Tensor]:
        outs = [forward(x) for forward in forwards]
        if stack.depth:
            flat = [out.view(-1, out.shape[-1]) for out in outs]
            stack.add_to(flat, x.reshape(-1, x.shape[-1]), adapters.mix)
        return outs

    together = Together(compute)
    return ((module, partial(together.part, index)) for index, module in enumerate(modules))


def _own_forward(layer: nn.Linear) -> Forward:
    if type(layer) is nn.Linear:
        return lambda x: F.linear(x, layer.weight, layer.bias)
    # Not the layer itself: its own forward may be the one that is being replaced.
    return MethodType(type(layer).forward, layer)
