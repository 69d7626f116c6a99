"""The format is told by content first, then by name."""

import pytest

from core.datasets.formats import detect_format
from core.errors import InvalidInput

LINE = b'{"question": "q", "sql": "s"}\n'


@pytest.mark.parametrize(
    ("filename", "head", "expected"),
    [
        ("a.jsonl", LINE * 2, "jsonl"),
        ("a.json", LINE * 2, "jsonl"),
        ("a.json", b"[" + LINE + b"]", "json"),
        ("a.jsonl", b" [\n {" + LINE, "json"),
        ("a.json", b"[]", "json"),
        ("a.json", b'{\n  "question": "q"\n}', "json"),
        ("a.jsonl", b"[" * 5000, "jsonl"),
        ("a.ndjson", b"oops", "jsonl"),
        ("upload", LINE, "jsonl"),
        ("upload", b"\xef\xbb\xbf" + LINE, "jsonl"),
        ("upload", b"question,sql\nq,s\n", "csv"),
        ("upload", "问题;SQL\n".encode(), "csv"),
        ("A.CSV", b"question\nq\n", "csv"),
        ("a.tsv", b"question\tsql\n", "csv"),
        ("a.csv", b"PAR1xxxx", "parquet"),
    ],
)
def test_format_is_detected(filename, head, expected):
    assert detect_format(filename, head) == expected


def test_what_was_asked_for_counts():
    assert detect_format("a.csv", LINE, asked="jsonl") == "jsonl"
    with pytest.raises(InvalidInput, match="unknown"):
        detect_format("a.csv", LINE, asked="xml")
