"""How a folder becomes a checkpoint: staged, synced, hashed, renamed. Knows no training."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from core.failpoints import failpoint
from core.storage import StoredFile, describe_tree, sync, verify_tree

MANIFEST = "manifest.json"


def write_checkpoint(
    folder: Path, step: int, write: Callable[[Path], None]
) -> tuple[Path, list[StoredFile]]:
    """Let `write` fill a staged folder, then rename it to `folder/step-N`; nothing half-written
    ever bears that name."""
    staged = folder / f".staged-{step}"
    final = folder / f"step-{step:08d}"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    write(staged)
    files = describe_tree(staged)
    manifest = json.dumps([entry.to_dict() for entry in files], indent=1)
    (staged / MANIFEST).write_text(manifest, encoding="utf-8")
    for path in staged.rglob("*"):
        sync(path)
    sync(staged)
    failpoint("checkpoint.staged", at=step)
    shutil.rmtree(final, ignore_errors=True)
    staged.rename(final)
    sync(folder)
    return final, files


def fault_in(folder: Path, manifest: list[dict]) -> str | None:
    """Why a stored checkpoint can't be used, or None."""
    return verify_tree(folder, [StoredFile(**entry) for entry in manifest])
