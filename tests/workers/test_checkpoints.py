"""Nothing half-written ever bears a checkpoint's name, and a damaged one is found out."""

from pathlib import Path

import pytest

from workers.checkpoints import fault_in, write_checkpoint


def fill(folder: Path) -> None:
    (folder / "adapter").mkdir()
    (folder / "adapter" / "weights.safetensors").write_bytes(b"w" * 1000)
    (folder / "optimizer.pt").write_bytes(b"o" * 500)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, list[dict]]:
    folder, files = write_checkpoint(tmp_path / "checkpoints", 7, fill)
    return folder, [entry.to_dict() for entry in files]


def test_a_checkpoint_has_a_manifest_of_every_file(saved: tuple[Path, list[dict]]) -> None:
    folder, manifest = saved
    assert folder.name == "step-00000007"
    assert [entry["path"] for entry in manifest] == ["adapter/weights.safetensors", "optimizer.pt"]
    assert fault_in(folder, manifest) is None


def test_a_writer_that_breaks_leaves_no_checkpoint(tmp_path: Path) -> None:
    def breaks(folder: Path) -> None:
        fill(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_checkpoint(tmp_path, 7, breaks)
    assert [path.name for path in tmp_path.iterdir()] == [".staged-7"]
    write_checkpoint(tmp_path, 7, fill)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000007"]


def test_a_missing_shortened_or_changed_file_is_a_fault(saved: tuple[Path, list[dict]]) -> None:
    folder, manifest = saved
    optimizer = folder / "optimizer.pt"
    optimizer.write_bytes(b"o" * 499)
    assert "499 bytes instead of 500" in fault_in(folder, manifest)
    optimizer.write_bytes(b"o" * 499 + b"x")
    assert "sha256" in fault_in(folder, manifest)
    optimizer.unlink()
    assert "missing" in fault_in(folder, manifest)
