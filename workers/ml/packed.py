"""Weights laid out once for the products of a generation, on x86 CPUs. Knows weights; no model.

For float32 activations FBGEMM (arXiv 2101.05615) widens weights that float16 holds as it
multiplies. Where the CPU does not compute in bf16 that beats a cast at each step and an ordinary
product: for the few rows of a decoding step, which no BLAS is made for, most of all. For bf16 the
weights are cast once, which is exact for int8, instead of at each step.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workers.ml import memory

# float32 itself rounds a weight of one half by as much.
ROUNDING = 2.0**-25
# Of the memory that is free, for all the weights of a model: they stand beside its own.
MEMORY_SHARE = 0.25

Product = Callable[[Tensor], Tensor]


def fits(layers: list[nn.Linear]) -> bool:
    """Whether this machine can, and has room for, the weights of these layers packed."""
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        return False
    size = sum(layer.weight.numel() for layer in layers) * torch.float16.itemsize
    return size <= MEMORY_SHARE * memory.available("cpu")


def packed(weight: Tensor, dtype: torch.dtype) -> Product | None:
    """x [..., in] in `dtype`, float32 or bf16 -> x W^T [..., out] for W [out, in], int8 or in
    `dtype`; None for float32 where float16 would round it by more than ROUNDING."""
    if dtype == torch.bfloat16:
        dense = weight.to(dtype)
        return lambda x: F.linear(x, dense)
    if weight.dtype != torch.int8 and not _held(weight):
        return None
    layout = torch.ops.quantized.linear_prepack_fp16(weight.float(), None)
    product = torch.ops.quantized.linear_dynamic_fp16
    return lambda x: product(x.contiguous(), layout)


def _held(weight: Tensor) -> bool:
    return bool(((weight.half().float() - weight).abs() <= ROUNDING).all())
