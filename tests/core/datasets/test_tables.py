"""CSV and Parquet are read row by row, each row or its problem with its line."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.datasets import tables
from core.datasets.readers import open_rows


def read(path, **options) -> list:
    with open_rows(path, filename=path.name, **options) as rows:
        return [(row.line, row.value if row.problem is None else row.problem.code) for row in rows]


def read_csv(tmp_path, data: bytes, **options) -> list:
    path = tmp_path / "x.csv"
    path.write_bytes(data)
    return read(path, **options)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_with_any_delimiter_mark_crlf_and_quotes(tmp_path, delimiter):
    lines = ["问题|SQL", '好?|"SELECT ""a""', 'FROM t"', "", "q|s"]
    data = "\ufeff" + "\r\n".join(lines).replace("|", delimiter) + "\r\n"
    assert read_csv(tmp_path, data.encode()) == [
        (2, {"问题": "好?", "SQL": 'SELECT "a"\r\nFROM t'}),
        (5, {"问题": "q", "SQL": "s"}),
    ]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a,b\n1\n2,3\n", [(2, "wrong_column_count"), (3, {"a": "2", "b": "3"})]),
        (b"a,b\n1,2,3\n", [(2, "wrong_column_count")]),
        (b'a,b\n1,"x"y\n2,3\n', [(2, "invalid_csv"), (3, {"a": "2", "b": "3"})]),
        (b'a,b\n1,"open\n2,3\n', [(2, "invalid_csv")]),
        (b"a,b\n1,\xff\n2,3\n", [(2, "invalid_utf8"), (3, {"a": "2", "b": "3"})]),
        (b"a,a\n1,2\n", [(1, "invalid_header")]),
        (b"a,b\r1,2\r", [(1, "invalid_csv")]),
        (b"a,b\n", []),
    ],
)
def test_broken_csv_is_told_by_line(tmp_path, data, expected):
    assert read_csv(tmp_path, data) == expected


def test_csv_row_beyond_the_bound_is_one_problem(tmp_path):
    long = b"a,b\n1," + b"x" * 300_000 + b"\n2,3\n"
    expected = [(2, "row_too_large"), (3, {"a": "2", "b": "3"})]
    assert read_csv(tmp_path, long, max_row_bytes=1000) == expected
    assert read_csv(tmp_path, long)[0][1]["b"] == "x" * 300_000


def test_unclosed_quote_does_not_swallow_a_file_into_memory(tmp_path):
    data = b'a,b\n1,"open\n' + b"2,3\n" * 1000
    found = read_csv(tmp_path, data, max_row_bytes=1000)
    assert found[0] == (2, "row_too_large")
    assert found[-1] == (1002, {"a": "2", "b": "3"})


def test_parquet_rows_with_lists_numbers_and_nulls(tmp_path):
    messages = [[{"role": "user", "content": "好"}], None]
    table = pa.table({"messages": messages, "n": [1, 2], "embedding": [[0.5], [0.5]]})
    pq.write_table(table, tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet") == [
        (1, {"messages": messages[0], "n": 1}),
        (2, {"messages": None, "n": 2}),
    ]


def test_parquet_text_that_is_no_utf8_or_too_long_is_one_row(tmp_path):
    raw = pa.array([b"ok", b"\xff", b"y" * 5000, b"ok"])
    texts = pa.Array.from_buffers(pa.string(), 4, raw.buffers())
    pq.write_table(pa.table({"a": texts}), tmp_path / "x.parquet")
    found = [value for _, value in read(tmp_path / "x.parquet", max_row_bytes=2000)]
    assert found == [{"a": "ok"}, "invalid_utf8", "row_too_large", {"a": "ok"}]


def test_broken_parquet_is_told(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": ["b"] * 100}), path)
    path.write_bytes(path.read_bytes()[:-20] + b"PAR1")
    assert read(path) == [(0, "invalid_parquet")]


def test_parquet_that_would_unpack_to_a_huge_column_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_COLUMN_CHUNK_BYTES", 10_000)
    table = pa.table({"a": ["x" * 1000 + str(n) for n in range(100)]})
    pq.write_table(table, tmp_path / "x.parquet", compression="zstd")
    assert read(tmp_path / "x.parquet") == [(0, "invalid_parquet")]
