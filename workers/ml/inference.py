"""Leaner forwards of linear layers while a model generates: fewer and cheaper calls.

PEFT's LoRA layer takes about twelve calls for what are two small products, and has one adapter for
all tokens (`workers.ml.adapters`). And bitsandbytes' CPU
inference quantises the activations to 8 bit too, which is slower than to leave them as they are
and further from the exact result (smollm2-135m: divergence 0.025 against 0.0015 per token).
Training doesn't do that either, so an adapter is asked just as it was trained. On a GPU
bitsandbytes' own kernel stays.
"""

from collections.abc import Callable
from types import MethodType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workers.ml.adapters import Adapters
from workers.ml.quantization import dense_weight, kind_of, row_scales

# Up to so many tokens the int8 weights go through a kernel that reads them as they are; beyond,
# it is cheaper to cast them for one ordinary product (measured at 576 x 1536: equal at about 12).
FEW_TOKENS = 8

Forward = Callable[[Tensor], Tensor]


class Inference:
    """A context in which a model infers: evaluation mode, no gradients, a chosen attention and the
    lean forwards. At its end the model is as it was, a training's own forwards included."""

    def __init__(
        self, model: nn.Module, *, attention: str, adapters: Adapters | None = None
    ) -> None:
        self.model = model
        self.attention = attention
        self._lean = lean_forwards(model, adapters or Adapters(model))

    def __enter__(self) -> None:
        self._mode = torch.inference_mode()
        self._mode.__enter__()
        self._training = [module for module in self.model.modules() if module.training]
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
    tokens ask for, and quantised layers."""
    found = []
    inner: set[nn.Module] = set()
    for module in model.modules():
        if module in inner:
            continue
        if module in adapters.stacks:
            inner.update(module.modules())
            found.append((module, _adapted_forward(module, adapters)))
        elif (forward := _quantized_forward(module)) is not None:
            found.append((module, forward))
    return found


def _adapted_forward(module: nn.Module, adapters: Adapters) -> Forward:
    """x W^T and each token's x A^T (s B)^T."""
    stack = adapters.stacks[module]
    base = _base_forward(getattr(module, "base_layer", module))

    def forward(x: Tensor) -> Tensor:
        out = base(x)
        if stack.rank:
            stack.add_to(out.view(-1, out.shape[-1]), x.reshape(-1, x.shape[-1]), adapters.mix)
        return out

    return forward


def _base_forward(layer: nn.Linear) -> Forward:
    own = _quantized_forward(layer)
    if own is not None:
        return own
    if type(layer) is nn.Linear:
        return lambda x: F.linear(x, layer.weight, layer.bias)
    # Not the layer itself: its own forward may be the one that is being replaced.
    return MethodType(type(layer).forward, layer)


def _quantized_forward(module: nn.Module) -> Forward | None:
    """For bitsandbytes' layers on a CPU: weights 8 or 4 bit, activations as they come."""
    kind = kind_of(module)
    if kind == "none" or module.weight.device.type != "cpu":
        return None
    if kind == "8bit":
        return _eight_bit_forward(module)
    return lambda x: F.linear(x, dense_weight(module, x.dtype), module.bias)


def _eight_bit_forward(module: nn.Module) -> Forward:
    weight, bias = module.weight.data, module.bias
    scale = (row_scales(module) / 127.0).float()
    ones = torch.ones(weight.shape[0], dtype=torch.bfloat16)
    packs = weight.shape[0] % 32 == 0 and weight.shape[1] % 32 == 0

    def forward(x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if packs and rows.shape[0] <= FEW_TOKENS and x.dtype == torch.bfloat16:
            out = torch.ops.aten._weight_int8pack_mm(rows, weight, ones)
        else:
            out = F.linear(rows, weight.to(x.dtype))
        out = (out * scale).to(x.dtype)
        if bias is not None:
            out += bias.to(x.dtype)
        return out.view(*x.shape[:-1], -1)

    return forward
