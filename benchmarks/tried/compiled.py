"""The pointwise parts of a training step, compiled: norms, the gated product, rotations.

Inductor makes one loop over memory of what are several in eager mode, in C++ on a CPU. Rows of
packed tokens have many lengths, so shapes are dynamic.
"""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional
from transformers.models.llama import modeling_llama
from transformers.models.qwen2 import modeling_qwen2

from workers.ml import lean
from workers.ml.nodes import GatedLinear, Norm, _gradients, _products

compiled = partial(torch.compile, dynamic=True, fullgraph=True)


def replace_pointwise_parts() -> None:
    """In all models that are made ready for training from here on. Their last bits differ, so
    nobody asks whether these are the same."""
    lean.Norm, lean.GatedLinear = CompiledNorm, CompiledGatedLinear
    lean._is_same = lambda module, forward: True
    for modeling in (modeling_llama, modeling_qwen2):
        modeling.apply_rotary_pos_emb = compiled(modeling.apply_rotary_pos_emb)


class CompiledNorm(Norm):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        out, inverse = norm(x, weight, epsilon)
        ctx.save_for_backward(x, weight, inverse)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):
        return norm_gradient(grad, *ctx.saved_tensors), None, None


class CompiledGatedLinear(GatedLinear):
    @staticmethod
    def forward(ctx, gate: Tensor, up: Tensor, layer, scaling: float, *masters: Tensor) -> Tensor:
        (out,), low, a, b = _products(gated(gate, up), [layer], [scaling], masters)
        ctx.save_for_backward(gate, up, low, a, *b)
        ctx.layer, ctx.scaling = layer, scaling
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):
        gate, up, low, a, *b = ctx.saved_tensors
        parts = [ctx.layer], [ctx.scaling], True
        grad_x, grad_masters = _gradients([grad], gated(gate, up), low, a, b, *parts)
        return *gated_gradients(grad_x, gate, up), None, None, *grad_masters


@compiled
def norm(x: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    wide = x.float()
    inverse = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
    return weight * (wide * inverse).to(x.dtype), inverse


@compiled
def norm_gradient(grad: Tensor, x: Tensor, weight: Tensor, inverse: Tensor) -> Tensor:
    unit, wide = x * inverse, (grad * weight).float()
    wide = (wide - unit * (wide * unit).mean(-1, keepdim=True)) * inverse
    return wide.to(x.dtype)


@compiled
def gated(gate: Tensor, up: Tensor) -> Tensor:
    return functional.silu(gate) * up


@compiled
def gated_gradients(grad: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    sigmoid = torch.sigmoid(gate)
    act = gate * sigmoid
    return grad * up * sigmoid * (1 + gate * (1 - sigmoid)), act * grad
