"""What a stream of bytes shows is refused at the door, at once, however it is cut into chunks."""

import gzip
import io
import subprocess
import sys
import tracemalloc
import zipfile

import pytest

from core.datasets.intake import Intake
from core.errors import InvalidInput, TooLarge, TuneyardError

MIB = 1024 * 1024
ROW = '{"question": "多少客户?", "sql": "SELECT COUNT(*) FROM customers"}\n'.encode()


def admit(data: bytes, filename: str = "pairs.jsonl", *, chunk: int = 1 << 16, **options):
    intake = Intake(filename, **({"max_bytes": 64 * MIB} | options))
    for at in range(0, len(data), chunk):
        intake.feed(data[at : at + chunk])
    return intake.finish()


def refusal(data: bytes, filename: str = "pairs.jsonl", **options) -> TuneyardError:
    with pytest.raises(TuneyardError) as caught:
        admit(data, filename, **options)
    assert caught.value.param in ("file", "format")
    return caught.value


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("pairs.jsonl", ROW)
    return buffer.getvalue()


@pytest.mark.parametrize("chunk", [1, 7, 4096, 1 << 16])
def test_good_file_is_admitted_in_any_chunks(chunk):
    admitted = admit(ROW * 300, chunk=chunk)
    assert (admitted.format, admitted.bytes, admitted.lines) == ("jsonl", len(ROW) * 300, 300)


def test_byte_order_mark_crlf_and_missing_last_line_end_are_fine():
    data = b"\xef\xbb\xbf" + (ROW.rstrip() + b"\r\n") * 2 + ROW.rstrip()
    assert admit(data).lines == 3


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_file"),
        (b"\xef\xbb\xbf", "empty_file"),
        (b" \r\n\n\t", "empty_file"),
        (b"\n" * 10_000, "empty_file"),
        (gzip.compress(ROW * 1000), "compressed_file"),
        (zipped(), "compressed_file"),
        (b"BZh91AY&SY", "compressed_file"),
        (b"SQLite format 3\x00" + bytes(100), "not_text"),
        (ROW + b"\x00" * 4, "not_text"),
        (ROW.decode().encode("utf-16"), "utf16"),
        (ROW.decode().encode("utf-16-le") * 20, "utf16"),
        (ROW.decode().encode("utf-16-be") * 20, "utf16"),
        (ROW.decode().encode("utf-32"), "utf16"),
        (ROW * 3 + ROW.decode().encode("gbk"), "invalid_utf8"),
        (ROW + b'{"question": "\xed\xa0\x80"}', "invalid_utf8"),
        (ROW + b'{"question": "\xe5\xa4', "invalid_utf8"),
        (b"PAR1" + bytes(100), "not_parquet"),
    ],
)
@pytest.mark.parametrize("chunk", [1, 5, 1 << 16])
def test_what_is_no_text_is_refused_with_the_same_code_in_any_chunks(data, code, chunk):
    assert refusal(data, chunk=chunk).code == code


def test_gzip_bomb_is_refused_by_its_first_bytes():
    intake = Intake("pairs.jsonl", max_bytes=MIB)
    with pytest.raises(InvalidInput) as caught:
        intake.feed(gzip.compress(bytes(50 * MIB))[:5000])
    assert caught.value.code == "compressed_file"


@pytest.mark.parametrize("chunk", [1, 3, 1 << 16])
def test_wrong_byte_is_named_by_offset_and_line(chunk):
    message = refusal(ROW * 200 + b'{"question": "caf\xe9"}\n', chunk=chunk).message
    assert f"byte 0xe9 at byte {len(ROW) * 200 + 18} (line 201)" in message
    assert "UTF-8" in message


@pytest.mark.parametrize("chunk", [1000, 4096, 1 << 16])
def test_line_longer_than_the_bound_is_refused_with_its_number(chunk):
    data = ROW * 50 + b'{"question": "' + b"x" * 10_000 + b'"}\n' + ROW
    error = refusal(data, chunk=chunk, max_line_bytes=10_000)
    assert isinstance(error, TooLarge)
    assert error.code == "line_too_long"
    assert error.message.startswith("line 51 is longer than 10000 bytes")


def test_line_of_exactly_the_bound_passes_and_one_more_byte_does_not():
    line = b'{"question": "' + b"x" * 84 + b'"}'
    for chunk in (1, 33, 1 << 16):
        assert admit(line + b"\n" + line, chunk=chunk, max_line_bytes=100).lines == 2
        assert refusal(line + b" \n" + line, chunk=chunk, max_line_bytes=100).code
        assert refusal(line + b"\n" + line + b" ", chunk=chunk, max_line_bytes=100).code


def test_huge_line_is_refused_long_before_it_ends_and_in_little_memory():
    intake = Intake("pairs.jsonl", max_bytes=1024 * MIB)
    tracemalloc.start()
    sent = 0
    with pytest.raises(TooLarge) as caught:
        intake.feed(b'{"question": "')
        for _ in range(200):
            chunk = b"x" * MIB
            sent += len(chunk)
            intake.feed(chunk)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.code == "line_too_long"
    assert sent <= 2 * MIB
    assert peak < 8 * MIB


def test_memory_stays_at_a_few_chunks_for_a_large_file():
    intake = Intake("pairs.jsonl", max_bytes=1024 * MIB)
    chunk = ROW * 1000
    tracemalloc.start()
    for _ in range(200):
        intake.feed(chunk)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert intake.finish().lines == 200_000
    assert peak < 10 * len(chunk)


def test_total_size_is_bounded_before_anything_else():
    error = refusal(ROW * 1000, max_bytes=10_000)
    assert isinstance(error, TooLarge)
    assert error.code == "too_large"


def test_json_array_may_stand_on_one_line():
    data = b"[" + b",".join([ROW.strip()] * 100) + b"]"
    assert admit(data, "pairs.json", max_line_bytes=100).format == "json"


def test_csv_lines_are_bounded_too():
    assert refusal(b"question,sql\n" + b"x" * 500, "pairs.csv", max_line_bytes=100).code


def test_whole_parquet_passes_and_one_under_a_wrong_format_does_not(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"question": ["a"], "sql": ["b"]}), tmp_path / "x.parquet")
    data = (tmp_path / "x.parquet").read_bytes()
    assert admit(data, "upload", chunk=11).format == "parquet"
    assert refusal(data, "x.csv", format="csv").code == "not_text"
    assert refusal(data[:-10], "x.parquet").code == "not_parquet"
    assert refusal(ROW, "x.parquet", format="parquet").code == "not_parquet"


def test_unknown_format_names_those_that_are_known():
    error = refusal(b"hello world\n", "notes.txt")
    assert error.code == "unknown_format"
    assert "jsonl, json, csv, parquet" in error.message
    with pytest.raises(InvalidInput, match="use auto, jsonl"):
        Intake("x", max_bytes=10, format="xlsx")


def test_guard_needs_nothing_that_the_api_lacks():
    code = "import sys, core.datasets.intake; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "pyarrow", "datasets"} & set(done.stdout.split())
