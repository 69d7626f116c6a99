"""What a file's purpose asks of its bytes."""

from pathlib import Path

import pytest

from core.errors import InvalidInput, TooLarge
from core.files.purposes import UPLOADED, Bounded, guard_for, look_through, require_purpose


def test_a_bound_holds_however_the_bytes_are_cut() -> None:
    for size in (1, 3, 10):
        guard = Bounded(10)
        for start in range(0, 10, size):
            guard.feed(bytes(min(size, 10 - start)))
        guard.finish()
        with pytest.raises(TooLarge, match="MiB"):
            guard.feed(b"x")


def test_nothing_at_all_is_no_file() -> None:
    with pytest.raises(InvalidInput, match="empty"):
        Bounded(10).finish()


@pytest.mark.parametrize("purpose", UPLOADED)
def test_a_file_may_be_looked_through_later(tmp_path: Path, purpose: str) -> None:
    path = tmp_path / "any"
    path.write_bytes(b'{"question": "?"}\n')
    look_through(path, guard_for(require_purpose(purpose), "any.jsonl"))
    path.write_bytes(b"\x00\x01")
    if purpose in ("fine-tune", "batch", "evals"):
        with pytest.raises(InvalidInput):
            look_through(path, guard_for(purpose, "any.jsonl"))
    else:
        look_through(path, guard_for(purpose, "any.jsonl"))


def test_what_jobs_make_is_no_purpose_of_an_upload() -> None:
    for purpose in ("batch_output", "fine-tune-results", "dataset", ""):
        with pytest.raises(InvalidInput, match="is right"):
            require_purpose(purpose)
