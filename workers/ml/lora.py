"""Puts a LoRA adapter (PEFT's format) on a base model and makes its linear layers quick to train.

PEFT owns parameters, saving and loading. Training replaces the forward of PEFT's linear layers by
one autograd node for those that share an input (`workers.ml.nodes`): PEFT computes the low-rank
products in fp32 beside a bf16 base and keeps several copies of the activations; here the masters
stay fp32 and the products run in the activations' dtype, in place, the narrow ones of all layers at
once.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from core.errors import JobFailure
from core.training.hyperparameters import LoraSettings
from workers.ml.lean import keep_less
from workers.ml.nodes import LoraLinears
from workers.ml.siblings import Together, children


def attach_adapter(model: nn.Module, settings: LoraSettings, *, seed: int) -> PeftModel:
    """The model with fresh, trainable LoRA weights in fp32 (B is zero: it starts as the base)."""
    targets = _target_names(model, settings.target_modules)
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        use_rslora=settings.use_rslora,
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
    variant (DoRA, several adapters) keep PEFT's own. What stands between them keeps less."""
    plain = {module for module in model.modules() if _is_plain(module)}
    for module in model.modules():
        for layers in children(module, plain):
            together = Together(partial(_all, layers))
            # Also where memory ran out in between: on a result hangs all that was computed before.
            module.register_forward_hook(together.forget, always_call=True)
            for index, layer in enumerate(layers):
                layer.forward = partial(together.part, index)
    keep_less(model, plain)
    return len(plain)


def _all(layers: Sequence[LoraLayer], x: Tensor) -> Iterator[Tensor]:
    """The results of layers with one input."""
    named = [(layer, layer.active_adapters[0]) for layer in layers]
    flat = LoraLinears.apply(
        x.reshape(-1, x.shape[-1]),
        [layer.get_base_layer() for layer in layers],
        [layer.scaling[name] for layer, name in named],
        *(layer.lora_A[name].weight for layer, name in named),
        *(layer.lora_B[name].weight for layer, name in named),
    )
    return (y.view(*x.shape[:-1], -1) for y in flat)


def _is_plain(module: nn.Module) -> bool:
    if not isinstance(module, LoraLayer) or len(module.lora_A) != 1:
        return False
    if not isinstance(module.get_base_layer(), nn.Linear):
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
