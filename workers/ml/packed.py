"""Weights laid out once for the products of a generation, on x86 CPUs. Knows weights; no model.

For float32 activations FBGEMM (arXiv 2101.05615) widens weights that float16 holds as it
multiplies. Where the CPU does not compute in bf16 that beats a cast at each step and an ordinary
product: for the few rows of a decoding step, which no BLAS is made for, most of all. For bf16
oneDNN lays them out for its kernels once instead of at each step; int8 weights are cast for that,
which is exact.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workers.ml import memory

# float32 itself rounds a weight of one half by as much.
ROUNDING = 2.0**-25
# What oneDNN lays weights out for; other numbers of tokens hardly lose by it. Two cores, plain and
# laid out: 896 x 9728 1.5 and 1.2 ms for one token, 2.0 and 2.1 for 32, 3.1 and 1.6 for 64; the
# head of 896 x 151936 24 and 20, 32 and 29, 48 and 26.
TOKENS = 64
# Of the memory that is free, for all the weights of a model: they stand beside its own.
MEMORY_SHARE = 0.25

Product = Callable[[Tensor], Tensor]


def fits(layers: list[nn.Linear]) -> bool:
    """Whether this machine can, and has room for, the weights of these layers packed."""
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        return False
    size = sum(layer.weight.numel() for layer in layers) * torch.float16.itemsize
    return size <= MEMORY_SHARE * memory.available("cpu")


def packed(weight: Tensor, dtype: torch.dtype, bias: Tensor | None = None) -> Product | None:
    """x [..., in] in `dtype`, float32 or bf16 -> x W^T + b [..., out] for W [out, in], int8 or in
    `dtype`. None where nothing is gained: for float32 where float16 would round W by more than
    ROUNDING, for bf16 where oneDNN does not compute in it and W is in bf16 already."""
    if dtype == torch.bfloat16:
        return _packed_bf16(weight, bias)
    if weight.dtype != torch.int8 and not _held(weight):
        return None
    layout = torch.ops.quantized.linear_prepack_fp16(weight.float(), bias)
    product = torch.ops.quantized.linear_dynamic_fp16
    return lambda x: product(x.contiguous(), layout)


def _packed_bf16(weight: Tensor, bias: Tensor | None) -> Product | None:
    dense = weight.to(torch.bfloat16)
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return None if dense is weight else lambda x: F.linear(x, dense, bias)
    layout = torch.ops.mkldnn._reorder_linear_weight(dense, TOKENS)
    product = torch.ops.mkldnn._linear_pointwise
    return lambda x: product(x.contiguous(), layout, bias, "none", [], "")


def _held(weight: Tensor) -> bool:
    return bool(((weight.half().float() - weight).abs() <= ROUNDING).all())
