"""Puts a LoRA adapter (PEFT's format) on a base model and makes its linear layers quick to train.

PEFT owns parameters, saving and loading. Training replaces the forward of PEFT's linear layers by
one autograd node (`LoraLinear`): PEFT computes the low-rank products in fp32 beside a bf16 base and
keeps several copies of the activations; here the masters stay fp32 and the products run in the
activations' dtype, in place.
"""

from types import MethodType

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from core.errors import JobFailure
from workers.ml.hyperparameters import LoraSettings
from workers.ml.quantization import dense_weight


def attach_adapter(model: nn.Module, settings: LoraSettings, *, seed: int) -> PeftModel:
    """The model with fresh, trainable LoRA weights in fp32 (B is zero: it starts as the base)."""
    targets = _target_names(model, settings.target_modules)
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets,
        layers_to_transform=_adapted_layers(model, settings.layers),
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def trainable_parameters(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def linear_names(model: nn.Module) -> list[str]:
    """Names ("q_proj", …) of the linear layers of the decoder, without the head."""
    head = model.get_output_embeddings()
    return sorted(
        {
            name.rsplit(".", 1)[-1]
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and module is not head
        }
    )


def speed_up(model: PeftModel) -> int:
    """Replaces the forward of every plain LoRA layer; returns how many. Layers with dropout or a
    variant (DoRA, several adapters) keep PEFT's own."""
    replaced = 0
    for module in model.modules():
        if isinstance(module, LoraLayer) and _is_plain(module):
            module.forward = MethodType(_forward, module)
            replaced += 1
    return replaced


class LoraLinear(torch.autograd.Function):
    """y = x W' + b + s (x A') B' as one node. x [T, in], W [out, in] (plain or quantised),
    A [r, in], B [out, r]. Saves x and x A' alone; W gets no gradient and, where quantised, is
    dequantised again in the backward pass rather than kept."""

    @staticmethod
    def forward(ctx, x, layer, a, b, scaling):
        a, b = a.to(x.dtype), (b * scaling).to(x.dtype)
        low = x @ a.t()
        out = torch.nn.functional.linear(x, dense_weight(layer, x.dtype), layer.bias)
        out.addmm_(low, b.t())
        ctx.save_for_backward(x, low, a, b)
        ctx.layer, ctx.scaling = layer, scaling
        return out

    @staticmethod
    def backward(ctx, grad):
        x, low, a, b = ctx.saved_tensors
        grad_low = grad @ b
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ dense_weight(ctx.layer, grad.dtype)
            grad_x.addmm_(grad_low, a)
        grad_a = (grad_low.t() @ x).float()
        grad_b = (grad.t() @ low).float().mul_(ctx.scaling)
        return grad_x, None, grad_a, grad_b, None


def _forward(self, x: Tensor, *args, **kwargs) -> Tensor:
    name = self.active_adapters[0]
    a, b = self.lora_A[name].weight, self.lora_B[name].weight
    flat = x.reshape(-1, x.shape[-1])
    out = LoraLinear.apply(flat, self.get_base_layer(), a, b, self.scaling[name])
    return out.view(*x.shape[:-1], -1)


def _is_plain(module: LoraLayer) -> bool:
    if not isinstance(module.get_base_layer(), nn.Linear) or len(module.lora_A) != 1:
        return False
    name = next(iter(module.lora_A))
    dropout = getattr(module.lora_dropout[name], "p", 0.0)
    return not dropout and not module.lora_variant and not module.lora_bias[name]


def _target_names(model: nn.Module, wanted: str | tuple[str, ...]) -> list[str]:
    known = linear_names(model)
    if wanted == "all-linear":
        return known
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise JobFailure("config", f"the base model has no linear layers {unknown}; it has {known}")
    return names


def _adapted_layers(model: nn.Module, layers: str | int) -> list[int] | None:
    """None = all; else the numbers of the last `layers` decoder layers."""
    if layers == "all":
        return None
    count = model.config.num_hidden_layers
    if not 1 <= layers <= count:
        raise JobFailure("config", f"lora.layers must be 'all' or 1 to {count}, not {layers}")
    return list(range(count - layers, count))
