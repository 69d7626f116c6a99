"""Autograd nodes that keep little for the backward pass and compute the rest again there.

Of a decoder layer's activations they are most: what LoRA layers are given, the gated product before
the last of them, and the norms. Weights of the base get no gradient. Knows layers; no model.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.ml.quantization import dense_weight


class LoraLinears(torch.autograd.Function):
    """y = x W' + b + s (x A') B' as one node for layers with the same input. x [T, in], of each
    layer W [out, in] (plain or quantised), A [r, in], B [out, r]. Saves x and all x A' alone; W
    gets no gradient and, where quantised, is dequantised again in the backward pass, not kept."""

    @staticmethod
    def forward(ctx, x: Tensor, layers, scalings, *masters: Tensor) -> tuple[Tensor, ...]:
        outs, low, a, b = _products(x, layers, scalings, masters)
        ctx.save_for_backward(x, low, a, *b)
        ctx.layers, ctx.scalings = layers, scalings
        return tuple(outs)

    @staticmethod
    def backward(ctx, *grads: Tensor):
        x, low, a, *b = ctx.saved_tensors
        wanted = ctx.needs_input_grad[0]
        grad_x, grad_masters = _gradients(grads, x, low, a, b, ctx.layers, ctx.scalings, wanted)
        return grad_x, None, None, *grad_masters


class GatedLinear(torch.autograd.Function):
    """The LoRA layer behind a gate: its input silu(gate) * up [T, in] is not kept, nor silu."""

    @staticmethod
    def forward(ctx, gate: Tensor, up: Tensor, layer, scaling: float, *masters: Tensor) -> Tensor:
        x = functional.silu(gate).mul_(up)
        (out,), low, a, b = _products(x, [layer], [scaling], masters)
        ctx.save_for_backward(gate, up, low, a, *b)
        ctx.layer, ctx.scaling = layer, scaling
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):
        gate, up, low, a, *b = ctx.saved_tensors
        act = functional.silu(gate)
        wanted = any(ctx.needs_input_grad[:2])
        grad_x, grad_masters = _gradients(
            [grad], act * up, low, a, b, [ctx.layer], [ctx.scaling], wanted
        )
        grad_gate = grad_up = None
        if wanted:
            grad_up = act.mul_(grad_x)
            grad_gate = torch.ops.aten.silu_backward(grad_x.mul_(up), gate)
        return grad_gate, grad_up, None, None, *grad_masters


class Norm(torch.autograd.Function):
    """weight * x / rms(x) in fp32, rounded before it is weighted, as Llama and its kin have it
    (arXiv 1910.07467). Keeps x as it comes and the inverse root of each token's mean square."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        wide = x.float()
        inverse = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
        ctx.save_for_backward(x, weight, inverse)
        return weight * (wide * inverse).to(x.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, weight, inverse = ctx.saved_tensors
        unit, grad = x * inverse, (grad * weight).float()
        grad_x = grad.sub_(unit * (grad * unit).mean(-1, keepdim=True)).mul_(inverse)
        return grad_x.to(x.dtype), None, None


def _products(
    x: Tensor, layers: Sequence[nn.Linear], scalings: Sequence[float], masters: Sequence[Tensor]
) -> tuple[list[Tensor], Tensor, Tensor, list[Tensor]]:
    """What each layer gives, all x A' side by side, and A and the scaled B in the dtype of x."""
    a = torch.cat(masters[: len(layers)]).to(x.dtype)
    b = [
        (master * scaling).to(x.dtype)
        for master, scaling in zip(masters[len(layers) :], scalings, strict=True)
    ]
    low = x @ a.t()
    outs = []
    for layer, low_i, b_i in zip(layers, _by_rank(low, b), b, strict=True):
        out = functional.linear(x, dense_weight(layer, x.dtype), layer.bias)
        outs.append(out.addmm_(low_i, b_i.t()))
    return outs, low, a, b


def _gradients(
    grads: Sequence[Tensor],
    x: Tensor,
    low: Tensor,
    a: Tensor,
    b: Sequence[Tensor],
    layers: Sequence[nn.Linear],
    scalings: Sequence[float],
    wanted: bool,
) -> tuple[Tensor | None, list[Tensor]]:
    """Of x, where that is wanted, and of the masters."""
    grad_low = torch.cat([grad @ b_i for grad, b_i in zip(grads, b, strict=True)], dim=1)
    grad_x = None
    if wanted:
        grad_x = grad_low @ a
        for grad, layer in zip(grads, layers, strict=True):
            grad_x.addmm_(grad, dense_weight(layer, grad.dtype))
    grad_a = _by_rank((grad_low.t() @ x).float(), b, dim=0)
    grad_b = [
        (grad.t() @ low_i).float().mul_(scaling)
        for grad, low_i, scaling in zip(grads, _by_rank(low, b), scalings, strict=True)
    ]
    return grad_x, [*grad_a, *grad_b]


def _by_rank(joined: Tensor, b: Sequence[Tensor], dim: int = 1) -> tuple[Tensor, ...]:
    return joined.split([b_i.shape[1] for b_i in b], dim=dim)
