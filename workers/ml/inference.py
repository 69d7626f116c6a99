"""A model while it generates: leaner forwards of its linear layers, fewer and cheaper calls.

PEFT's LoRA layer takes about twelve calls for what are two small products, and has one adapter for
all tokens; here each token has its own (`workers.ml.adapters`), beside the products of the base's
layers (`workers.ml.products`).
"""

from collections.abc import Mapping
from types import MethodType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workers.ml.adapters import Adapters
from workers.ml.products import Forward, products


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
    found = []
    inner: set[nn.Module] = set()
    for module in model.modules():
        if module in inner:
            continue
        if module in adapters.stacks:
            inner.update(module.modules())
            found.append((module, _adapted_forward(module, adapters, bases)))
        elif module in bases:
            found.append((module, bases[module]))
    return found


def _adapted_forward(
    module: nn.Module, adapters: Adapters, bases: Mapping[nn.Module, Forward]
) -> Forward:
    """x W^T and each token's x A^T (s B)^T."""
    stack, layer = adapters.stacks[module], getattr(module, "base_layer", module)
    base = bases.get(layer) or _own_forward(layer)

    def forward(x: Tensor) -> Tensor:
        out = base(x)
        if stack.rank:
            stack.add_to(out.view(-1, out.shape[-1]), x.reshape(-1, x.shape[-1]), adapters.mix)
        return out

    return forward


def _own_forward(layer: nn.Linear) -> Forward:
    if type(layer) is nn.Linear:
        return lambda x: F.linear(x, layer.weight, layer.bias)
    # Not the layer itself: its own forward may be the one that is being replaced.
    return MethodType(type(layer).forward, layer)
