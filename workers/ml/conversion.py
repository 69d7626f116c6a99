"""Makes a plain safetensors model directory of a GGUF file or of another directory. Knows no store.

transformers dequantises a GGUF file into an ordinary model but refuses to save that one, so its
weights go into a fresh model of the same config.
"""

import json
import os
import shutil
from pathlib import Path

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
)

from core.basemodels.safety import KEPT_SUFFIXES, PROVENANCE_KEYS, check_model_directory
from core.errors import InvalidInput

TOKENIZER = "tokenizer.json"
ATTENTION = {"full_attention", "sliding_attention"}


def convert_gguf(file: Path, target: Path) -> None:
    """Writes config, bf16 safetensors, tokenizer and chat template into the empty `target`."""
    source, name = str(file.parent), file.name
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=name, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=name, dtype=torch.bfloat16, local_files_only=True
    )
    config = model.config
    del config.quantization_config
    fresh = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    fresh.load_state_dict(model.state_dict())
    fresh.tie_weights()
    fresh.generation_config = model.generation_config
    fresh.save_pretrained(target)
    tokenizer.save_pretrained(target)
    forget_provenance(target)


def copy_model(source: Path, target: Path) -> None:
    """Copies a checked model directory's own files into the empty `target`.

    Raises InvalidInput for what isn't safe (`core.basemodels.safety`), for an architecture that
    transformers doesn't have and for a model without a usable tokenizer.
    """
    check_model_directory(source)
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix.lower() in KEPT_SUFFIXES and path.name[0] != ".":
            shutil.copyfile(path, target / path.name)
    check_model_directory(target)
    _require_known_architecture(target)
    _require_tokenizer(target)
    forget_provenance(target)


def forget_provenance(directory: Path) -> None:
    """Takes out of the configs where their writer had the model: nobody is to follow that."""
    for path in directory.glob("*config.json"):
        config = json.loads(path.read_text(encoding="utf-8"))
        kept = {key: value for key, value in config.items() if key not in PROVENANCE_KEYS}
        if kept != config:
            text = json.dumps(kept, ensure_ascii=False, indent=2)
            path.write_text(text + "\n", encoding="utf-8")
    for path in directory.iterdir():
        os.chmod(path, 0o644)


def _require_known_architecture(directory: Path) -> None:
    try:
        config = AutoConfig.from_pretrained(
            directory, trust_remote_code=False, local_files_only=True
        )
        known = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
    except (ValueError, OSError, KeyError) as error:
        raise InvalidInput(f"config.json is not usable: {str(error).splitlines()[0]}") from error
    if not known:
        raise InvalidInput(
            f"{config.model_type!r} is not a text-generating architecture that transformers has"
        )
    # Training packs examples into one row, which other kinds of layers would read as one text; the
    # engine keeps keys and values, of which they have none.
    kinds = {*(getattr(config.get_text_config(decoder=True), "layer_types", None) or ())}
    if odd := sorted(kinds - ATTENTION):
        raise InvalidInput(
            f"{config.model_type!r} has layers of the kind {odd[0]!r}; models whose layers are all "
            "attention (Llama, Qwen2, Mistral, Gemma …) can be trained and served"
        )


def _require_tokenizer(directory: Path) -> None:
    """A `tokenizer.json` is what every part reads; an older format is rewritten as one."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            directory, trust_remote_code=False, local_files_only=True
        )
    except (ValueError, OSError, KeyError, ImportError) as error:
        raise InvalidInput(
            f"the tokenizer can't be loaded: {str(error).strip().splitlines()[0]}"
        ) from error
    if not (directory / TOKENIZER).exists():
        tokenizer.save_pretrained(directory)
    if not (directory / TOKENIZER).exists():
        raise InvalidInput(f"no {TOKENIZER}, and the tokenizer can't be written as one")
