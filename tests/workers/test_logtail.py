"""The log is shipped in bounded pieces, never cut within a character."""

from pathlib import Path

from workers.logtail import MAX_READ, LogTail


def test_only_what_is_new_is_read_and_characters_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = LogTail(path)
    assert tail.read() == ""
    text = "训练开始\n".encode()
    path.write_bytes(text[:5])
    first = tail.read()
    with path.open("ab") as log:
        log.write(text[5:])
    assert first + tail.read() == "训练开始\n"
    assert tail.read() == ""


def test_a_burst_is_cut_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("x" * (MAX_READ + 100) + "the reason")
    text = LogTail(path).read()
    assert text.startswith("[… 110 bytes left out]\n")
    assert text.endswith("the reason")
