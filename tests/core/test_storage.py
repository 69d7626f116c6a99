"""Bytes under keys, on a disk and in S3: whole or not there, and never outside of the root."""

import errno
import multiprocessing
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.errors import NotFound, Unavailable
from core.storage import Storage, describe_tree, forget_storages, get_storage, verify_tree
from tests.faults.blackhole import blackhole
from tests.servers import S3Server


@pytest.fixture(params=["file", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "file":
        return Storage(f"file://{tmp_path / 'storage'}")
    return Storage(request.getfixturevalue("s3_storage").new_url())


def test_what_is_put_is_read_again(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "问题.txt"
    source.write_bytes(b"x" * 3_000_000)
    storage.put(source, "a/b/c", move=True)
    assert not (storage.local and source.exists())
    assert b"".join(storage.chunks("a/b/c")) == b"x" * 3_000_000
    storage.delete("a")
    storage.delete("a")
    with pytest.raises(NotFound):
        storage.open("a/b/c")
    with pytest.raises(NotFound):
        storage.fetch("a/b/c", tmp_path / "t")


def test_what_is_not_there_is_named_in_the_log_alone(
    storage: Storage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for look in (lambda: storage.open("a/key"), lambda: storage.fetch("a/key", tmp_path / "t")):
        caplog.clear()
        with pytest.raises(NotFound) as missing:
            look()
        assert "a/key" not in missing.value.message
        assert "a/key" in caplog.text


def test_where_an_object_store_is_stands_in_the_log_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object, **__: object) -> None:
        raise ConnectionError("Could not connect to http://10.0.0.5:9000/ours")

    storage = Storage(f"file://{tmp_path}")
    storage.local, storage.fs = False, SimpleNamespace(exists=away)
    with pytest.raises(Unavailable) as raised:
        storage.ping()
    assert "10.0.0.5" not in raised.value.message
    assert "10.0.0.5" in caplog.text


def test_an_object_store_lost_in_the_middle_of_a_read_does_not_answer(
    s3_storage: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    (tmp_path / "one").write_bytes(b"x" * 3_000_000)
    with blackhole(port=int(s3_storage.endpoint.rpartition(":")[2])) as between:
        storage = Storage(s3_storage.new_url())
        storage.fs = type(storage.fs)(
            skip_instance_cache=True,
            use_listings_cache=False,
            endpoint_url=f"http://127.0.0.1:{between.port}",
            default_block_size=1_000_000,
        )
        storage.put(tmp_path / "one", "a")
        pieces = storage.chunks("a")
        next(pieces)
        between.hung_up()
        with pytest.raises(Unavailable):
            list(pieces)


@pytest.mark.parametrize("move", [False, True])
def test_what_is_put_is_on_the_disk_before_it_has_its_name_and_its_name_before_it_is_relied_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, move: bool
) -> None:
    root, sync = tmp_path / "storage", os.fsync
    synced: list[tuple[Path, bool]] = []

    def watched(handle: int) -> None:
        sync(handle)
        synced.append((Path(f"/proc/self/fd/{handle}").readlink(), (root / "a/b/c").exists()))

    monkeypatch.setattr(os, "fsync", watched)
    (tmp_path / "source").write_bytes(b"x")
    Storage(f"file://{root}").put(tmp_path / "source", "a/b/c", move=move)
    *new, (staged, before), (folder, after) = synced
    assert new == [(made.parent, False) for made in (root, root / "a", root / "a/b")]
    assert (staged.name[:2], staged.suffix, before) == ("c.", ".part", False)
    assert (folder, after) == (root / "a/b", True)


def test_a_file_that_finds_no_room_leaves_no_part_of_it(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 100_000)
    storage = Storage(f"file://{tmp_path / 'storage'}")
    with largest_file(50_000), pytest.raises(OSError) as error:
        storage.put(source, "a/b")
    assert error.value.errno == errno.EFBIG
    assert [path for path in (tmp_path / "storage").rglob("*") if path.is_file()] == []


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process grows beyond that."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


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


def test_what_another_process_wrote_a_moment_ago_is_found(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("1")
    storage.put(tmp_path / "one", "a/one")
    with pytest.raises(NotFound):
        storage.fetch("a/two", tmp_path / "t")
    other = Storage(storage.url)
    other.fs = type(other.fs)(skip_instance_cache=True, use_listings_cache=False)
    other.put(tmp_path / "one", "a/two")
    assert storage.fetch("a/two", tmp_path / "t").read_text() == "1"
    other.delete("a/two")
    assert [found.key for found in storage.walk("a")] == ["a/one"]


def test_a_forked_child_of_a_process_that_used_the_storage_can_use_it(
    s3_storage: S3Server, tmp_path: Path
) -> None:
    url = s3_storage.new_url()
    (tmp_path / "one").write_text("1")
    get_storage(url).put(tmp_path / "one", "a")

    def child(answers: Any) -> None:
        forget_storages()  # as a worker's pool does
        get_storage(url).put(tmp_path / "one", "b")
        answers.send(get_storage(url).fetch("a", tmp_path / "fetched").read_text())

    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=child, args=(theirs,))
    process.start()
    assert ours.poll(30), "the child hangs"
    assert ours.recv() == "1"
    process.join(10)
    assert get_storage(url).fetch("b", tmp_path / "b").read_text() == "1"
    forget_storages()


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/passwd", ""])
def test_a_key_never_leads_out_of_the_root(storage: Storage, key: str) -> None:
    with pytest.raises(ValueError, match="bad storage key"):
        storage.open(key)


def test_a_symbolic_link_is_no_artifact(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="symbolic link"):
        describe_tree(tmp_path)
