"""The base models of one machine: directories `<root>/<name>/` with a manifest. Knows no table.

A model is put together in a staging directory beside the others and renamed into place, so that
what has a name is whole. The manifest `tuneyard.json` says where it came from and what each file
is, and is what the database records of it.
"""

import json
import math
import re
import shutil
import struct
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.basemodels.context import context_length
from core.basemodels.safety import MAX_CONFIG_BYTES, check_model_directory, read_config
from core.errors import InvalidInput, NotFound
from core.storage import describe_tree, hash_file, sync

MANIFEST = "tuneyard.json"
NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,63}$")
STAGING = ".staging-"
SHAPE = (
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_hidden_layers",
    "vocab_size",
)


class ModelStore:
    """`root` need not exist yet. Names are checked, so none leads out of it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        """The directory of a model; NotFound where there is none, InvalidInput for an odd name."""
        require_model_name(name)
        directory = self.root / name
        if directory.is_symlink() or not (directory / MANIFEST).is_file():
            known = ", ".join(m["name"] for m in self.manifests()) or "none yet"
            raise NotFound(f"There is no model {name!r} on this machine; there are: {known}.")
        return directory

    def get(self, name: str) -> dict[str, Any]:
        """The manifest of a model."""
        return read_manifest(self.path(name))

    def manifests(self) -> list[dict[str, Any]]:
        """Of all models, by name. What is being staged or has no readable manifest is left out."""
        found = []
        for path in sorted(self.root.glob(f"*/{MANIFEST}")):
            if NAME.match(path.parent.name) and not path.parent.is_symlink():
                try:
                    found.append(read_manifest(path.parent))
                except InvalidInput:
                    continue
        return found

    def verify(self, name: str) -> str | None:
        """What is wrong with a model's files (all are hashed), or None if each is as recorded."""
        directory = self.path(name)
        for entry in read_manifest(directory)["files"]:
            path = directory / entry["path"]
            if not path.is_file() or path.is_symlink():
                return f"{entry['path']} is missing"
            if path.stat().st_size != entry["bytes"] or hash_file(path) != entry["sha256"]:
                return f"{entry['path']} is not what was stored"
        return None

    @contextmanager
    def staging(self, name: str) -> Iterator[Path]:
        """An empty directory on the store's own file system, gone afterwards."""
        require_model_name(name)
        self.root.mkdir(parents=True, exist_ok=True)
        directory = self.root / f"{STAGING}{name}-{uuid.uuid4().hex[:8]}"
        directory.mkdir()
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def put(self, staged: Path, *, name: str, source: str, licence: str) -> dict[str, Any]:
        """Checks a finished model, writes its manifest and moves it into place; the manifest.

        A model of that name is replaced: those who opened its files keep reading the old ones.
        """
        require_model_name(name)
        manifest = write_manifest(staged, name=name, source=source, licence=licence)
        for path in [*staged.iterdir(), staged]:
            sync(path)
        target = self.root / name
        old = self.root / f"{STAGING}{name}-old-{uuid.uuid4().hex[:8]}"
        if target.exists():
            target.rename(old)
        staged.rename(target)
        sync(self.root)
        shutil.rmtree(old, ignore_errors=True)
        return manifest


def require_model_name(name: str) -> None:
    if not NAME.match(name):
        raise InvalidInput(
            f"{name!r} can't name a model: lower-case letters, digits, '.', '_' and '-', "
            "up to 64 of them, beginning with a letter or digit.",
            param="name",
        )


def write_manifest(directory: Path, *, name: str, source: str, licence: str) -> dict[str, Any]:
    """Checks a model directory and describes it in its `tuneyard.json`; returns the description."""
    (directory / MANIFEST).unlink(missing_ok=True)
    check_model_directory(directory)
    config = read_config(directory / "config.json")
    text = config.get("text_config") or config
    manifest = {
        "name": name,
        "source": source,
        "licence": licence,
        "architecture": (config.get("architectures") or [config.get("model_type", "unknown")])[0],
        "parameters": count_parameters(directory),
        "context_length": context_length(text),
        "shape": read_shape(directory),
        "created": time.time(),
        "files": [entry.to_dict() for entry in describe_tree(directory)],
    }
    document = json.dumps(manifest, ensure_ascii=False, indent=1)
    (directory / MANIFEST).write_text(document + "\n", encoding="utf-8")
    return manifest


def read_manifest(directory: Path) -> dict[str, Any]:
    """InvalidInput where the manifest is unreadable or lacks what others rely on."""
    manifest = read_config(directory / MANIFEST)
    wanted = {"name", "parameters", "architecture", "context_length", "files"}
    if missing := wanted - manifest.keys():
        raise InvalidInput(f"{directory.name}/{MANIFEST} lacks {', '.join(sorted(missing))}")
    if "shape" not in manifest:  # written by an older version
        manifest["shape"] = read_shape(directory)
    return manifest


def read_shape(directory: Path) -> dict[str, int] | None:
    """The sizes by which the memory of a training is estimated; None where a model names them
    otherwise."""
    config = read_config(directory / "config.json")
    text = config.get("text_config") or config
    shape = {name: text.get(name) for name in SHAPE}
    return shape if all(isinstance(size, int) for size in shape.values()) else None


def count_parameters(directory: Path) -> int:
    """Numbers in all tensors, read from the headers of the safetensors files (shared ones once)."""
    tensors = (
        tensor["shape"]
        for path in directory.glob("*.safetensors")
        for key, tensor in safetensors_header(path).items()
        if key != "__metadata__"
    )
    return sum(math.prod(shape) for shape in tensors)


def safetensors_header(path: Path) -> dict[str, Any]:
    """What a safetensors file holds: 8 bytes little-endian length, then JSON of that length."""
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(path.stat().st_size - 8, 8 * MAX_CONFIG_BYTES):
            raise InvalidInput(f"{path.name} is not a safetensors file")
        try:
            return json.loads(file.read(length))
        except ValueError as error:
            raise InvalidInput(f"{path.name} is not a safetensors file") from error
