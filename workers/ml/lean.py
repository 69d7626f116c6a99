"""Norms and gated layers of a model in training, as nodes that keep less for the backward pass.

Nothing is taken for granted of an architecture: a module that looks as if a node computed the same
is tried out with both, and keeps its own forward unless they agree to the last bit.
"""

from collections.abc import Callable, Collection
from functools import partial

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from workers.ml.nodes import GatedLinear, Norm

Forward = Callable[[Tensor], Tensor]
TRIED = 4  # tokens


def keep_less(model: nn.Module, lora_layers: Collection[LoraLayer]) -> int:
    """Replaces the forwards of RMS norms, and of gated layers whose last one is among the
    `lora_layers`, where there are gradients; returns how many."""
    count = 0
    for module in model.modules():
        forward = _norm(module) or _gated(module, lora_layers)
        if forward is not None and _is_same(module, forward):
            module.forward = partial(_with_gradients, module, forward)
            count += 1
    return count


def _with_gradients(module: nn.Module, forward: Forward, x: Tensor) -> Tensor:
    """Without, the module's own: what it calls may have been replaced (`workers.ml.inference`)."""
    return forward(x) if torch.is_grad_enabled() else type(module).forward(module, x)


def _norm(module: nn.Module) -> Forward | None:
    own = dict(module.named_parameters())
    epsilon = getattr(module, "variance_epsilon", None)
    if epsilon is None or list(own) != ["weight"] or own["weight"].requires_grad:
        return None
    return lambda x: Norm.apply(x, module.weight, epsilon)


def _gated(module: nn.Module, lora_layers: Collection[LoraLayer]) -> Forward | None:
    if dict(module.named_children()).keys() != {"gate_proj", "up_proj", "down_proj", "act_fn"}:
        return None
    return partial(_through_gate, module) if module.down_proj in lora_layers else None


def _through_gate(module: nn.Module, x: Tensor) -> Tensor:
    gate, up, down = module.gate_proj(x), module.up_proj(x), module.down_proj
    name = down.active_adapters[0]
    out = GatedLinear.apply(
        gate.flatten(0, -2),
        up.flatten(0, -2),
        down.get_base_layer(),
        down.scaling[name],
        down.lora_A[name].weight,
        down.lora_B[name].weight,
    )
    return out.view(*x.shape[:-1], -1)


@torch.no_grad()
def _is_same(module: nn.Module, forward: Forward) -> bool:
    weights = [*module.parameters()]
    if any(isinstance(weight, DTensor) for weight in weights):
        return False  # divided over devices: it can't be tried out here
    first = module.gate_proj.in_features if hasattr(module, "gate_proj") else len(module.weight)
    like = weights[0]
    dtype = like.dtype if like.is_floating_point() else torch.float32
    x = torch.linspace(-2, 2, TRIED * first, dtype=dtype, device=like.device)
    x = x.view(1, TRIED, first)
    return torch.equal(module(x), forward(x))
