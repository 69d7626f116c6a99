"""JSON Lines and JSON arrays are read row by row, each row or its problem with its line."""

import json
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.datasets import jsonfiles
from core.datasets.readers import open_rows


def read(tmp_path, data: bytes, name: str, **options) -> list:
    """(line, value or code of the problem) of each row."""
    path = tmp_path / name
    path.write_bytes(data)
    with open_rows(path, filename=name, **options) as rows:
        found = [(row.line, row.value if row.problem is None else row.problem.code) for row in rows]
        assert rows.position() <= rows.size == len(data)
    return found


def test_lines_with_mark_crlf_and_blanks_keep_their_numbers(tmp_path):
    data = b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n{"a": 2}\n{"a": "\xe5\xa5\xbd"}'
    expected = [(1, {"a": 1}), (4, {"a": 2}), (5, {"a": "好"})]
    assert read(tmp_path, data, "x.jsonl") == expected


def test_bad_lines_do_not_stop_the_reading(tmp_path):
    data = b'{"a": 1}\n{"a": \n[1]\n"x"\n{"a": 2}\n'
    assert read(tmp_path, data, "x.jsonl") == [
        (1, {"a": 1}),
        (2, "invalid_json"),
        (3, "not_an_object"),
        (4, "not_an_object"),
        (5, {"a": 2}),
    ]


def test_line_beyond_the_bound_is_one_problem(tmp_path):
    data = b'{"a": 1}\n{"a": "' + b"x" * 300_000 + b'"}\n{"a": 2}\n'
    for bound, expected in ((1000, "row_too_large"), (300_008, {"a": "x" * 300_000})):
        found = read(tmp_path, data, "x.jsonl", max_row_bytes=bound)
        assert found == [(1, {"a": 1}), (2, expected), (3, {"a": 2})]


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 1000])
def test_array_is_cut_into_its_elements_whatever_the_chunks(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(jsonfiles, "CHUNK", chunk)
    rows = [{"a": '},{"\\'}, {"b": [1, {"c": "]"}]}, {"问": "题\\\\"}]
    elements = ",\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    text = "\ufeff\n[\n" + elements + "\n]\n"
    found = read(tmp_path, text.encode(), "x.json", format="json")
    assert found == [(3, rows[0]), (5, rows[1]), (7, rows[2])]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"[]", []),
        (b" [ \n ] ", []),
        (b'[{"a": 1},]', [(1, {"a": 1}), (1, "invalid_json")]),
        (b'[,{"a": 1}]', [(1, "invalid_json"), (1, {"a": 1})]),
        (b'[{"a": 1}\n{"a": 2}]', [(1, "invalid_json")]),
        (b'[{"a": 1},\n{"a": x},\n{"a": 3}]', [(1, {"a": 1}), (2, "invalid_json"), (3, {"a": 3})]),
        (b'[{"a": 1},\n3]', [(1, {"a": 1}), (2, "not_an_object")]),
        (b'[{"a": 1},\n{"a"', [(1, {"a": 1}), (2, "invalid_json")]),
        (b'[{"a": 1}] x', [(1, {"a": 1}), (1, "invalid_json")]),
        (b'{"data": [{"a": 1}]}', [(1, "invalid_json")]),
        (b"[" * 100_000, [(1, "invalid_json")]),
        (b'[{"a": "open}, {"b": 1}]', [(1, "invalid_json")]),
    ],
)
def test_broken_arrays_are_told(tmp_path, data, expected):
    assert read(tmp_path, data, "x.json", format="json") == expected


def test_problem_inside_a_pretty_printed_element_is_on_its_own_line(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(b'[\n  {\n    "a": 1,\n    "b": NaN\n  }\n]')
    with open_rows(path, filename="x.json") as rows:
        (row,) = list(rows)
    assert (row.line, row.problem.line, row.problem.path) == (2, 4, "$.b")


def test_element_beyond_the_bound_is_one_problem(tmp_path):
    data = b'[{"a": 1}, {"a": "' + b"x" * 600_000 + b'"}, {"a": 2}]'
    found = read(tmp_path, data, "x.json", format="json", max_row_bytes=1000)
    assert found == [(1, {"a": 1}), (1, "row_too_large"), (1, {"a": 2})]


texts = st.text('a"\\{}[],:\n 问', max_size=6)
turns = st.lists(st.dictionaries(texts, texts, max_size=2), max_size=2)
objects = st.dictionaries(texts, texts | turns)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(objects, max_size=5), st.integers(1, 40), st.sampled_from([None, 0, 2]))
def test_any_array_of_objects_comes_back(tmp_path, rows, chunk, indent):
    before, jsonfiles.CHUNK = jsonfiles.CHUNK, chunk
    try:
        data = json.dumps(rows, ensure_ascii=False, indent=indent).encode()
        found = read(tmp_path, data, "x.json", format="json")
    finally:
        jsonfiles.CHUNK = before
    assert [value for _, value in found] == rows


@pytest.mark.parametrize(("name", "start"), [("x.jsonl", b""), ("x.json", b'[{"a": 1}, ')])
def test_row_of_many_megabytes_is_passed_over_in_little_memory(tmp_path, name, start):
    path = tmp_path / name
    path.write_bytes(start + b'{"a": "' + b"x" * (40 << 20) + b'"}')
    tracemalloc.start()
    with open_rows(path, filename=name) as rows:
        codes = [row.problem.code for row in rows if row.problem]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert codes[0] in ("row_too_large", "invalid_json")
    assert peak < 4 << 20
