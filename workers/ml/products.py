"""What the linear layers of a model compute while it generates, without adapters: leaner than their
own forwards where there is a leaner way. Knows layers; no tokens.

bitsandbytes' CPU inference quantises the activations to 8 bit too, which is slower than to leave
them as they are and further from the exact result (smollm2-135m: divergence 0.025 against 0.0015
per token). Training doesn't do that either, so an adapter is asked just as it was trained. On a GPU
bitsandbytes' own kernel stays. On a CPU the weights are packed where there is room
(`workers.ml.packed`), those of layers with one input as one.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workers.ml.packed import Product, fits, packed
from workers.ml.quantization import dense_weight, kind_of, row_scales
from workers.ml.siblings import Together, base_of, linear_layers, siblings

# Up to so many tokens int8 weights go through a kernel that reads them as they are; beyond, it is
# cheaper to cast them for one ordinary product (measured at 576 x 1536: equal at about 12), or to
# have them cast (equal at about 5).
FEW_TOKENS, FEW_TOKENS_PACKED = 8, 4

Forward = Callable[[Tensor], Tensor]


def products(model: nn.Module) -> dict[nn.Module, Forward]:
    """A leaner forward of each linear layer that has one; of a PEFT layer it is its base layer's.
    Weights are taken as they are now."""
    layers = [base_of(module) for module in linear_layers(model)]
    found: dict[nn.Module, Forward] = {}
    if _packs(model, layers):
        dtype = model.get_input_embeddings().weight.dtype
        for modules in siblings(model, linear_layers(model)):
            found |= _packed_forwards([base_of(module) for module in modules], dtype)
    for layer in layers:
        if layer not in found and (forward := _unpacked_forward(layer)) is not None:
            found[layer] = forward
    return found


def _packs(model: nn.Module, layers: Sequence[nn.Linear]) -> bool:
    embeddings = model.get_input_embeddings().weight
    return (
        embeddings.device.type == "cpu"
        and embeddings.dtype in (torch.float32, torch.bfloat16)
        and fits(layers)
    )


def _packed_forwards(layers: list[nn.Linear], dtype: torch.dtype) -> dict[nn.Module, Forward]:
    """Of layers with one input; none for those whose weights can't be packed."""
    kinds = {type(layer) if kind_of(layer) == "none" else kind_of(layer) for layer in layers}
    if not kinds <= {nn.Linear, "8bit"}:
        return {}
    if len(kinds) > 1:
        found = [_packed_forwards([layer], dtype) for layer in layers]
        return {layer: forward for one in found for layer, forward in one.items()}
    weight = torch.cat([layer.weight.data for layer in layers])
    quantised = kinds == {"8bit"}
    product = packed(weight, dtype, None if quantised else _joined_bias(layers))
    if product is None:
        return {}
    if quantised:
        if dtype == torch.bfloat16:  # else the int8 weights would be kept for nothing
            product = _few_apart(product, weight, FEW_TOKENS_PACKED)
        product = _scaled(product, torch.cat([row_scales(layer) for layer in layers]))
        if (bias := _joined_bias(layers)) is not None:  # behind the scales
            product = _with_bias(product, bias)
    if len(layers) == 1:
        return {layers[0]: product}
    widths = [layer.out_features for layer in layers]
    together = Together(lambda x: product(x).split(widths, dim=-1))
    return {layer: partial(together.part, index) for index, layer in enumerate(layers)}


def _joined_bias(layers: Sequence[nn.Linear]) -> Tensor | None:
    """Zeros for layers without one; None where no layer has one."""
    if all(layer.bias is None for layer in layers):
        return None
    dtype = next(layer.bias.dtype for layer in layers if layer.bias is not None)
    return torch.cat(
        [
            torch.zeros(layer.out_features, dtype=dtype) if layer.bias is None else layer.bias.data
            for layer in layers
        ]
    )


def _unpacked_forward(layer: nn.Linear) -> Forward | None:
    """For bitsandbytes' layers on a CPU: weights 8 or 4 bit, activations as they come."""
    kind = kind_of(layer)
    if kind == "none" or layer.weight.device.type != "cpu":
        return None
    if kind == "4bit":
        return lambda x: F.linear(x, dense_weight(layer, x.dtype), layer.bias)
    weight = layer.weight.data
    product = _few_apart(lambda x: F.linear(x, weight.to(x.dtype)), weight, FEW_TOKENS)
    return _with_bias(_scaled(product, row_scales(layer)), layer.bias)


def _few_apart(product: Product, weight: Tensor, most: int) -> Product:
    """For at most `most` tokens in bf16 the int8 weights as they are, unscaled."""
    ones = torch.ones(weight.shape[0], dtype=torch.bfloat16)
    takes = weight.shape[0] % 32 == 0 and weight.shape[1] % 32 == 0

    def forward(x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if takes and len(rows) <= most and x.dtype == torch.bfloat16:
            out = torch.ops.aten._weight_int8pack_mm(rows, weight, ones)
            return out.view(*x.shape[:-1], -1)
        return product(x)

    return forward


def _scaled(product: Product, largest: Tensor) -> Product:
    """`largest` [out]: the absolute value that 127 stands for."""
    scale = (largest / 127.0).float()

    def forward(x: Tensor) -> Tensor:
        out = product(x)
        return out.mul_(scale) if out.dtype == scale.dtype else (out * scale).to(out.dtype)

    return forward


def _with_bias(product: Product, bias: Tensor | None) -> Forward:
    if bias is None:
        return product
    return lambda x: product(x).add_(bias.data.to(x.dtype))
