"""Base weights in 8 or 4 bit, by bitsandbytes: asking for them, counting them, reading them.

Knows linear layers one by one; no adapter and no job.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import JobFailure

KINDS = {"none": "no", "8bit": "8-bit", "4bit": "4-bit"}
CLASSES = {"8bit": "Linear8bitLt", "4bit": "Linear4bit"}


def loading_options(kind: str, dtype: torch.dtype) -> dict[str, Any]:
    """For `from_pretrained`. JobFailure (config) for a word that is no quantisation, and where
    bitsandbytes or its native library is missing: it would fall back silently."""
    if kind not in KINDS:
        raise JobFailure("config", f"unknown quantization {kind!r}: {', '.join(KINDS)}")
    if kind == "none":
        return {}
    from transformers import BitsAndBytesConfig

    _require_library(kind)
    if kind == "8bit":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
    )
    return {"quantization_config": config}


def count_layers(model: nn.Module, kind: str) -> int:
    """Linear layers whose weights lie in memory so quantised; JobFailure (config) if none do,
    though it was asked for."""
    if kind == "none":
        return 0
    count = sum(kind_of(module) == kind for module in model.modules())
    if not count:
        raise JobFailure(
            "config",
            f"quantization {kind} was asked for, but no layer of this model became {KINDS[kind]}; "
            "use quantization none",
        )
    return count


def kind_of(module: nn.Module) -> str:
    """A class alone says little: its weights become small when they reach their device."""
    name = type(module).__name__
    if name == CLASSES["8bit"] and module.weight.dtype == torch.int8:
        return "8bit"
    if name == CLASSES["4bit"] and getattr(module.weight, "quant_state", None) is not None:
        return "4bit"
    return "none"


def dense_weight(layer: nn.Linear, dtype: torch.dtype) -> Tensor:
    """The frozen weight [out, in] in `dtype`. 8 bit: int8 times the row's largest absolute value
    over 127 (LLM.int8(), arXiv 2208.07339). 4 bit: NF4 in blocks of 64 (QLoRA, arXiv 2305.14314).
    """
    weight, kind = layer.weight, kind_of(layer)
    if kind == "8bit":
        # Converted, then multiplied in place: quicker than the product of two types.
        scales = (row_scales(layer) * (1.0 / 127.0)).to(dtype)
        return weight.data.to(dtype).mul_(scales.unsqueeze(1))
    if kind == "4bit":
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(weight.data, weight.quant_state).to(dtype)
    return weight if weight.dtype == dtype else weight.to(dtype)


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, but for 8-bit layers, which compute as in training: on a CPU bitsandbytes
    quantises activations too in evaluation mode, and that is another model than the trained one."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    for module in model.modules():
        if kind_of(module) == "8bit":
            module.train()
    try:
        yield
    finally:
        model.eval()
        for module in training:
            module.training = True


def row_scales(layer: nn.Linear) -> Tensor:
    """The largest absolute value of each row of an 8-bit layer, [out] fp32."""
    return layer.weight.SCB if layer.weight.SCB is not None else layer.state.SCB


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all parameters and buffers, shared ones once, with the scales of quantised ones."""
    seen: dict[int, int] = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        state = getattr(tensor, "quant_state", None)
        scales = getattr(tensor, "SCB", None) if state is None else state.absmax
        for part in (tensor, scales):
            if part is not None:
                seen[part.data_ptr()] = part.numel() * part.element_size()
    return sum(seen.values())


def _require_library(kind: str) -> None:
    try:
        from bitsandbytes.cextension import ErrorHandlerMockBNBNativeLibrary, lib
    except ImportError as error:
        raise JobFailure(
            "config", f"quantization {kind} needs bitsandbytes, which is not installed here"
        ) from error
    if isinstance(lib, ErrorHandlerMockBNBNativeLibrary):
        raise JobFailure(
            "config", "bitsandbytes has no native library for this machine; use quantization none"
        )
