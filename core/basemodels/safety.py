"""What a model or adapter directory may hold, checked before anything reads it. Loads nothing.

The refusals: pickled weights and code (they run on loading), `auto_map` (names code to run), links
and paths that lead out of the directory, and a base model named by the files themselves.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

from core.errors import InvalidInput

# Kept when a directory is copied into the store; anything else that is harmless is left behind.
KEPT_SUFFIXES = {".json", ".safetensors", ".jinja", ".txt", ".model", ".md"}
PICKLES = {
    *(".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".h5"),
    *(".msgpack", ".mar", ".dill"),
}
CODE = {".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".sh", ".ps1", ".exe", ".js"}
ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".whl"}
MAX_CONFIG_BYTES = 16 * 1024 * 1024
# Recorded by the tools that write a model and followed by none of our loaders.
PROVENANCE_KEYS = {"_name_or_path", "_model_name_or_path", "base_model_name_or_path"}
WEIGHT_FILE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors$")


def check_model_directory(directory: Path) -> None:
    """Raises InvalidInput unless this is a safetensors model that needs no code of its own."""
    files = check_files(directory)
    if "config.json" not in files:
        raise InvalidInput(f"{directory.name}: config.json is missing; a model directory has one")
    if "adapter_config.json" in files:
        raise InvalidInput(
            f"{directory.name}: adapter_config.json is present, so this is an adapter that names a "
            "base model elsewhere; merge it first, or remove the file"
        )
    check_weights(directory, files)
    config = read_config(directory / "config.json")
    if config.get("quantization_config"):
        raise InvalidInput(
            f"{directory.name}: the weights are already quantised "
            f"({config['quantization_config'].get('quant_method', 'unknown')}); "
            "bring the unquantised safetensors, workers quantise them when they load"
        )


def check_adapter_directory(directory: Path) -> None:
    """Raises InvalidInput unless this is a LoRA adapter in PEFT's format, as safetensors."""
    files = check_files(directory)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if name not in files:
            raise InvalidInput(f"{directory.name}: {name} is missing; a PEFT adapter has one")
    config = read_config(directory / "adapter_config.json")
    if config.get("peft_type") != "LORA":
        raise InvalidInput(
            f"{directory.name}: peft_type is {config.get('peft_type')!r}; only LORA is supported"
        )
    if config.get("megatron_config"):
        raise InvalidInput(f"{directory.name}: megatron_config names a module to import; remove it")


def check_files(directory: Path) -> list[str]:
    """Relative names of the directory's files, after the checks that all kinds share."""
    if directory.is_symlink() or not directory.is_dir():
        raise InvalidInput(f"{directory}: not a directory (a link is not followed)")
    names = []
    for folder, subfolders, files in os.walk(directory, followlinks=False):
        for name in subfolders + files:
            _refuse_link(directory, Path(folder) / name)
        names += [str((Path(folder) / name).relative_to(directory)) for name in files]
    for name in names:
        _refuse_by_suffix(name)
        if name.endswith(".json"):
            _check_json(directory / name)
    return sorted(names)


def check_weights(directory: Path, files: list[str]) -> None:
    """The weights are safetensors beside config.json; an index names none but these."""
    if not any(WEIGHT_FILE.match(name) for name in files):
        raise InvalidInput(
            f"{directory.name}: no .safetensors file; convert the weights to safetensors"
        )
    index = directory / "model.safetensors.index.json"
    if not index.exists():
        return
    for name in set(read_config(index).get("weight_map", {}).values()):
        if not isinstance(name, str) or not WEIGHT_FILE.match(name) or name not in files:
            raise InvalidInput(
                f"{directory.name}: model.safetensors.index.json names {name!r}; "
                "it may only name safetensors files of the same directory"
            )


def read_config(path: Path) -> dict[str, Any]:
    """A small JSON object; InvalidInput where it isn't one."""
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise InvalidInput(f"{path.name} is larger than {MAX_CONFIG_BYTES} bytes; not a config")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path.name} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInput(f"{path.name} holds a {type(value).__name__}; an object is expected")
    return value


def _refuse_link(directory: Path, path: Path) -> None:
    if path.is_symlink():
        raise InvalidInput(
            f"{path.relative_to(directory)} is a symbolic link; copy the file itself in its place"
        )
    if not path.is_dir() and not path.is_file():
        raise InvalidInput(f"{path.relative_to(directory)} is neither a file nor a directory")


def _refuse_by_suffix(name: str) -> None:
    suffix = Path(name).suffix.lower()
    if suffix in PICKLES:
        raise InvalidInput(
            f"{name}: {suffix} weights can run code when they are loaded; "
            "only .safetensors is accepted, convert them and remove this file"
        )
    if suffix in CODE:
        raise InvalidInput(f"{name}: a model may not bring code; remove this file")
    if suffix in ARCHIVES:
        raise InvalidInput(f"{name}: an archive inside a model is not unpacked; remove this file")


def _check_json(path: Path) -> None:
    """Configs are parsed; the vocabulary, which is large and names no code, is not."""
    if path.name in ("tokenizer.json", "vocab.json"):
        return
    if path.name.endswith("config.json"):
        _refuse_redirects(path.name, read_config(path))


def _refuse_redirects(name: str, value: Any, depth: int = 0) -> None:
    if depth > 50:
        raise InvalidInput(f"{name}: nested more than 50 levels deep; not a config")
    if isinstance(value, list):
        for item in value:
            _refuse_redirects(name, item, depth + 1)
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if key == "auto_map" and item:
            raise InvalidInput(
                f"{name}: auto_map asks for code of the model's own; "
                "only architectures that transformers itself has are loaded"
            )
        if key.endswith(("_file", "_path")) and key not in PROVENANCE_KEYS and _leads_out(item):
            raise InvalidInput(f"{name}: {key} points to {item!r}, outside of the directory")
        _refuse_redirects(name, item, depth + 1)


def _leads_out(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    return value.startswith(("/", "~")) or "\\" in value or "://" in value or ".." in value
