"""Leaner forwards of linear layers while a model generates: fewer and cheaper calls.

PEFT's LoRA layer takes about twelve calls for what are two small products. And bitsandbytes' CPU
inference quantises the activations to 8 bit too, which is slower than to leave them as they are
and further from the exact result (smollm2-135m: divergence 0.025 against 0.0015 per token).
Training doesn't do that either, so an adapter is asked just as it was trained. On a GPU
bitsandbytes' own kernel stays.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workers.ml.quantization import dense_weight, kind_of, row_scales

# Up to so many tokens the int8 weights go through a kernel that reads them as they are; beyond,
# it is cheaper to cast them for one ordinary product (measured at 576 x 1536: equal at about 12).
FEW_TOKENS = 8

Forward = Callable[[Tensor], Tensor]


class Inference:
    """A context in which a model infers: evaluation mode, no gradients, a chosen attention and the
    lean forwards. At its end the model is as it was, a training's own forwards included."""

    def __init__(self, model: nn.Module, *, attention: str) -> None:
        self.model = model
        self.attention = attention
        self._lean = lean_forwards(model)

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


def lean_forwards(model: nn.Module) -> list[tuple[nn.Module, Forward]]:
    """Modules that have a leaner forward, with it. LoRA weights are copied in, scaled: the
    forwards hold for the adapter as it is now."""
    found = []
    inner: set[int] = set()
    for module in model.modules():
        if id(module) in inner:
            continue
        forward = _lora_forward(module)
        if forward is not None:
            inner.update(id(part) for part in module.modules())
        else:
            forward = _quantized_forward(module)
        if forward is not None:
            found.append((module, forward))
    return found


def _lora_forward(module: nn.Module) -> Forward | None:
    """x W^T + x A^T (s B)^T for a plain LoRA layer on a linear one; None for anything else."""
    if not _is_plain_lora(module):
        return None
    name = module.active_adapters[0]
    base_layer = module.base_layer
    base = _base_forward(base_layer)
    down = module.lora_A[name].weight.detach()
    up = (module.lora_B[name].weight.detach() * module.scaling[name]).t()

    def forward(x: Tensor) -> Tensor:
        out = base(x)
        narrow = F.linear(x, down.to(x.dtype)).view(-1, down.shape[0])
        return out.view(-1, up.shape[1]).addmm_(narrow, up.to(out.dtype)).view(out.shape)

    return forward


def _is_plain_lora(module: nn.Module) -> bool:
    from peft.tuners.lora.layer import LoraLayer

    if not isinstance(module, LoraLayer) or not isinstance(module.base_layer, nn.Linear):
        return False
    names = module.active_adapters
    return (
        len(names) == 1
        and names[0] in module.lora_A
        and names[0] not in module.lora_variant
        and module.lora_B[names[0]].bias is None
        and not module.merged
        and not module.disable_adapters
    )


def _base_forward(layer: nn.Linear) -> Forward:
    own = _quantized_forward(layer)
    if own is not None:
        return own
    if type(layer) is nn.Linear:
        return lambda x: F.linear(x, layer.weight, layer.bias)
    return layer


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
