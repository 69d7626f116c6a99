"""Leaner forwards of linear layers while a model generates: fewer and cheaper calls.

PEFT's LoRA layer takes about twelve calls for what are two small products, and has one adapter for
all tokens (`workers.ml.adapters`). And bitsandbytes' CPU
inference quantises the activations to 8 bit too, which is slower than to leave them as they are
and further from the exact result (smollm2-135m: divergence 0.025 against 0.0015 per token).
Training doesn't do that either, so an adapter is asked just as it was trained. On a GPU
bitsandbytes' own kernel stays. In float32 on a CPU the weights are packed (`workers.ml.packed`).
"""

from collections.abc import Callable
from types import MethodType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workers.ml.adapters import Adapters
from workers.ml.packed import Product, fits, packed
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
    tokens ask for, quantised layers, and those whose weights are packed."""
    packing = _packs(model)
    found = []
    inner: set[nn.Module] = set()
    for module in model.modules():
        if module in inner:
            continue
        if module in adapters.stacks:
            inner.update(module.modules())
            found.append((module, _adapted_forward(module, adapters, packing)))
        elif (forward := _own_forward(module, packing)) is not None:
            found.append((module, forward))
    return found


def _packs(model: nn.Module) -> bool:
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    embeddings = model.get_input_embeddings().weight
    return embeddings.device.type == "cpu" and embeddings.dtype == torch.float32 and fits(layers)


def _adapted_forward(module: nn.Module, adapters: Adapters, packing: bool) -> Forward:
    """x W^T and each token's x A^T (s B)^T."""
    stack = adapters.stacks[module]
    base = _base_forward(getattr(module, "base_layer", module), packing)

    def forward(x: Tensor) -> Tensor:
        out = base(x)
        if stack.rank:
            stack.add_to(out.view(-1, out.shape[-1]), x.reshape(-1, x.shape[-1]), adapters.mix)
        return out

    return forward


def _base_forward(layer: nn.Linear, packing: bool) -> Forward:
    own = _own_forward(layer, packing)
    if own is not None:
        return own
    if type(layer) is nn.Linear:
        return lambda x: F.linear(x, layer.weight, layer.bias)
    # Not the layer itself: its own forward may be the one that is being replaced.
    return MethodType(type(layer).forward, layer)


def _own_forward(module: nn.Module, packing: bool) -> Forward | None:
    """For layers on a CPU: those of bitsandbytes, weights 8 or 4 bit and activations as they come,
    and those whose weights can be packed."""
    kind = kind_of(module)
    if kind == "8bit" and module.weight.device.type == "cpu":
        return _scaled(_eight_bit_product(module.weight.data, packing), module)
    if kind == "4bit" and module.weight.device.type == "cpu":
        return lambda x: F.linear(x, dense_weight(module, x.dtype), module.bias)
    if packing and type(module) is nn.Linear and (product := packed(module.weight.data)):
        return product if module.bias is None else lambda x: product(x).add_(module.bias)
    return None


def _eight_bit_product(weight: Tensor, packing: bool) -> Product:
    """With the int8 weights as they are, unscaled."""
    if packing:
        return packed(weight)
    ones = torch.ones(weight.shape[0], dtype=torch.bfloat16)
    takes = weight.shape[0] % 32 == 0 and weight.shape[1] % 32 == 0

    def product(x: Tensor) -> Tensor:
        if takes and x.shape[:-1].numel() <= FEW_TOKENS and x.dtype == torch.bfloat16:
            rows = x.reshape(-1, x.shape[-1])
            out = torch.ops.aten._weight_int8pack_mm(rows, weight, ones)
            return out.view(*x.shape[:-1], -1)
        return F.linear(x, weight.to(x.dtype))

    return product


def _scaled(product: Product, layer: nn.Linear) -> Forward:
    scale, bias = (row_scales(layer) / 127.0).float(), layer.bias

    def forward(x: Tensor) -> Tensor:
        out = product(x)
        out = out.mul_(scale) if out.dtype == scale.dtype else (out * scale).to(out.dtype)
        if bias is not None:
            out += bias.to(x.dtype)
        return out

    return forward
