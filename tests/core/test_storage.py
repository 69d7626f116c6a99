"""Bytes under keys: whole or not there, and never outside of the root."""

from pathlib import Path

import pytest

from core.errors import NotFound
from core.storage import Storage, describe_tree, verify_tree


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(f"file://{tmp_path / 'storage'}")


def test_what_is_put_is_read_again(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "问题.txt"
    source.write_bytes(b"x" * 3_000_000)
    storage.put(source, "a/b/c", move=True)
    assert not source.exists()
    assert b"".join(storage.chunks("a/b/c")) == b"x" * 3_000_000
    storage.delete("a")
    storage.delete("a")
    with pytest.raises(NotFound):
        storage.open("a/b/c")
    with pytest.raises(NotFound):
        storage.fetch("a/b/c", tmp_path / "t")


def test_a_tree_arrives_whole_and_a_change_in_it_is_found(storage: Storage, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "one").write_text("1")
    (tree / "sub" / "two").write_text("22")
    manifest = describe_tree(tree)
    storage.put_tree(tree, "kept")
    kept = storage.fetch("kept", tmp_path / "unused")
    assert verify_tree(kept, manifest) is None
    (kept / "sub" / "two").write_text("23")
    assert "sub/two" in verify_tree(kept, manifest)


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/passwd", ""])
def test_a_key_never_leads_out_of_the_root(storage: Storage, key: str) -> None:
    with pytest.raises(ValueError, match="bad storage key"):
        storage.open(key)


def test_a_symbolic_link_is_no_artifact(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="symbolic link"):
        describe_tree(tmp_path)
