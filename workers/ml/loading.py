"""Loads a base model and an adapter from local directories. Knows nothing of jobs, stores or hubs.

Safetensors only, never a model's own code, never the internet. A precision or a quantisation that
the machine can't give is an error, never a silent fallback.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.basemodels.context import context_length
from core.basemodels.safety import check_adapter_directory, check_model_directory
from core.errors import InvalidInput, JobFailure
from workers.ml.outofmemory import memory_failure
from workers.ml.quantization import count_layers, loading_options, weight_bytes

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
# What a LoRA adapter's arithmetic depends on. Every other key of its config (the base model's
# path among them) is left out, so that it can't redirect or import anything.
LORA_KEYS = (
    *("r", "lora_alpha", "lora_dropout", "target_modules", "exclude_modules", "bias"),
    *("fan_in_fan_out", "use_rslora", "use_dora", "lora_bias", "rank_pattern", "alpha_pattern"),
    *("layers_to_transform", "layers_pattern", "modules_to_save", "task_type"),
)


@dataclass(frozen=True)
class LoadedModel:
    """`dtype` is that of the unquantised parts and of the activations."""

    model: Any
    tokenizer: Any
    dtype: torch.dtype
    device: str
    quantization: str
    quantized_layers: int
    weight_bytes: int

    @property
    def precision(self) -> str:
        return next(name for name, dtype in PRECISIONS.items() if dtype == self.dtype)

    @property
    def context_length(self) -> int:
        config = self.model.config.get_text_config(decoder=True)
        names = ("max_position_embeddings", "original_max_position_embeddings", "rope_parameters")
        return context_length({name: getattr(config, name, None) for name in names})

    @property
    def window(self) -> int | None:
        """How far the layers look back that see the least; None where all see everything."""
        config = self.model.config.get_text_config(decoder=True)
        kinds = getattr(config, "layer_types", None) or ["sliding_attention"]
        window = getattr(config, "sliding_window", None)
        return window if "sliding_attention" in kinds else None


def resolve_precision(precision: str, device: str) -> torch.dtype:
    """`auto`: bf16 where the hardware computes in it, fp16 on older GPUs, fp32 else.

    Raises JobFailure (config) for fp16 on a CPU and for a word that is no precision.
    """
    on_gpu = device.startswith("cuda")
    if precision == "auto":
        if on_gpu:
            native = torch.cuda.is_bf16_supported(including_emulation=False)
            return torch.bfloat16 if native else torch.float16
        return torch.bfloat16 if _cpu_computes_bf16() else torch.float32
    if precision not in PRECISIONS:
        raise JobFailure("config", f"unknown precision {precision!r}: auto, bf16, fp16 or fp32")
    if precision == "fp16" and not on_gpu:
        raise JobFailure("config", "fp16 needs a GPU; on a CPU use auto, bf16 or fp32")
    return PRECISIONS[precision]


def load_base(
    model_dir: Path,
    *,
    quantization: str = "none",
    precision: str = "auto",
    device: str = "cpu",
    placement: str | None = None,
) -> LoadedModel:
    """The model in evaluation mode, on its device, or first on another, its `placement`. JobFailure
    (config) says what is wrong."""
    _refuse_hostile(check_model_directory, model_dir)
    dtype = resolve_precision(precision, device)
    options = {
        "dtype": dtype,
        "device_map": {"": placement or device},
        **loading_options(quantization, dtype),
    }
    model = _from_pretrained(model_dir, options).eval()
    tokenizer = AutoTokenizer.from_pretrained(
        model_dir, local_files_only=True, trust_remote_code=False
    )
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        dtype=dtype,
        device=device,
        quantization=quantization,
        quantized_layers=count_layers(model, quantization),
        weight_bytes=weight_bytes(model),
    )


def load_adapter(loaded: LoadedModel, adapter_dir: Path) -> LoadedModel:
    """`loaded` with the adapter live on top of it, for inference, its weights in the model's dtype.

    Whatever base model the adapter's files name is ignored: it goes onto `loaded`. Raises
    JobFailure (config) where its shapes don't fit, or its weights are no numbers in that dtype.
    """
    from peft import PeftModel

    refuse_hostile_adapter(adapter_dir)
    config = lora_config(adapter_dir)
    try:
        model = PeftModel.from_pretrained(
            loaded.model,
            str(adapter_dir),
            config=config,
            is_trainable=False,
            autocast_adapter_dtype=False,
            local_files_only=True,
        )
    except (RuntimeError, ValueError, KeyError, SafetensorError) as error:
        if (full := memory_failure(error, "loading the adapter")) is not None:
            raise full from error
        raise JobFailure(
            "config", f"the adapter does not fit this base model: {_first_line(error)}"
        ) from error
    _require_loaded(model, config, adapter_dir)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.to(loaded.dtype)
            if not parameter.isfinite().all():
                raise JobFailure(
                    "config",
                    f"the adapter's {name} holds NaN or infinity in {loaded.precision}; train it "
                    "anew, or compute in a precision that reaches further",
                )
    return replace(loaded, model=model.eval(), weight_bytes=weight_bytes(model))


def lora_config(adapter_dir: Path):
    """PEFT's config of an adapter directory, reduced to LORA_KEYS."""
    from peft import LoraConfig

    raw = json.loads((adapter_dir / "adapter_config.json").read_text(encoding="utf-8"))
    known = {key: raw[key] for key in LORA_KEYS if raw.get(key) is not None}
    return LoraConfig(inference_mode=True, **known)


def _from_pretrained(model_dir: Path, options: dict[str, Any]):
    try:
        return AutoModelForCausalLM.from_pretrained(
            model_dir,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            **options,
        )
    except MemoryError as error:
        raise memory_failure(error, "loading the model") from error
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        if (full := memory_failure(error, "loading the model")) is not None:
            raise full from error
        raise JobFailure(
            "config", f"the model in {model_dir.name} can't be loaded: {_first_line(error)}"
        ) from error


def _require_loaded(model, config, adapter_dir: Path) -> None:
    """PEFT only warns of weights that are missing; B would stay zero and the adapter do nothing.
    Weights that no setting accounts for would be left out as silently."""
    with safe_open(adapter_dir / "adapter_model.safetensors", framework="pt") as file:
        stored = set(file.keys())
    lora = {key for key in stored if ".lora_" in key}
    wanted = {
        name.replace(".default", "") for name, _ in model.named_parameters() if ".lora_" in name
    }
    others = set() if config.modules_to_save or config.bias != "none" else stored - lora
    if odd := sorted((lora ^ wanted) | others):
        raise JobFailure(
            "config",
            f"the adapter does not fit this base model: {len(odd)} of its weights are missing or "
            f"left over, such as {odd[0]}",
        )


def refuse_hostile_adapter(directory: Path) -> None:
    """JobFailure (config) unless the folder holds what an adapter may hold and nothing else."""
    _refuse_hostile(check_adapter_directory, directory)


def _refuse_hostile(check, directory: Path) -> None:
    try:
        check(directory)
    except InvalidInput as error:
        raise JobFailure("config", error.message) from error


def _cpu_computes_bf16() -> bool:
    """AVX512_BF16 (or AMX): elsewhere bf16 on a CPU is emulated and slower than fp32."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
