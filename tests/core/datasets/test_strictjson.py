"""JSON is decoded strictly, and what is wrong has a code, a path and a place."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.datasets.strictjson import MAX_DEPTH, BadJson, decode


def refused(data: bytes) -> BadJson:
    with pytest.raises(BadJson) as caught:
        decode(data)
    return caught.value


@pytest.mark.parametrize(
    ("data", "code", "path"),
    [
        (b"[" * 100_000, "too_deep", None),
        (b'{"a":' * 100_000, "too_deep", None),
        (b"[" * 33 + b"]" * 33, "too_deep", None),
        (b'{"a": NaN}', "not_a_number", "$.a"),
        (b'{"a": [1, -Infinity]}', "not_a_number", "$.a[1]"),
        (b'{"a": {"b": 1e400}}', "number_out_of_range", "$.a.b"),
        (b'{"a": ' + b"1" * 5000 + b"}", "number_out_of_range", "$.a"),
        (b'{"m": [{"c": "\\ud800"}]}', "lone_surrogate", "$.m[0].c"),
        (b'{"m": "\\udc00x"}', "lone_surrogate", "$.m"),
        (b'{"m": "\\ud83d\\u0041"}', "lone_surrogate", "$.m"),
        (b'{"m": "a\\u0000b"}', "nul_character", "$.m"),
        (b'{"a": 1, "b": {"x y": 2, "x y": 3}}', "duplicate_key", '$.b["x y"]'),
        ('{"问题": "好", "问题": "好"}'.encode(), "duplicate_key", "$.问题"),
        (b'{"a": "\xff"}', "invalid_utf8", "$"),
        (b'{"a": "\xed\xa0\x80"}', "invalid_utf8", "$"),
        (b'{"a": "x\ny"}', "control_character", "$.a"),
        (b"", "invalid_json", "$"),
        (b'{"a": 1', "invalid_json", "$"),
        (b'{"a": "x', "invalid_json", "$.a"),
        (b'{"a": "x\\', "invalid_json", "$.a"),
        (b'{"a": "\\x"}', "invalid_json", "$.a"),
        (b'{"a": "\\u12"}', "invalid_json", "$.a"),
        (b'{"a": 1,}', "invalid_json", "$"),
        (b"{'a': 1}", "invalid_json", "$"),
        (b'{"a" 1}', "invalid_json", "$.a"),
        (b'{"a": None}', "invalid_json", "$.a"),
        (b'{"a": 01}', "invalid_json", "$"),
        (b'{"a": .5}', "invalid_json", "$.a"),
        (b'{"a": 1} {"a": 2}', "invalid_json", "$"),
        (b'\xef\xbb\xbf{"a": 1}', "invalid_json", "$"),
    ],
)
def test_bad_json_has_a_code_and_a_path_and_always_the_same(data, code, path):
    first, second = refused(data), refused(data)
    assert first.code == code
    assert path is None or first.path == path
    assert (first.message, first.path, first.offset) == (second.message, second.path, second.offset)
    assert len(first.path) < 200 and len(first.message) < 300


def test_message_says_what_would_be_right():
    assert "null" in refused(b'{"a": None}').message
    assert "save the file as UTF-8" in refused(b'{"a": "\xff"}').message
    assert "a comma or } is right (character 9)" in refused(b'{"a": 1 "b": 2}').message


def test_offset_counts_bytes():
    bad = refused('{"问题": "好", "b": NaN}'.encode())
    assert bad.offset == '{"问题": "好", "b": NaN}'.encode().index(b"NaN")


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a": "\\\\u0000"}', {"a": "\\u0000"}),
        (b'{"a": "\\ud83d\\ude00"}', {"a": "😀"}),
        (b'{"a": 1e308, "b": -0.0, "c": 1E2}', {"a": 1e308, "b": -0.0, "c": 100.0}),
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, json.loads("[" * MAX_DEPTH + "]" * MAX_DEPTH)),
        (json.dumps([{"c": [1]}] * 50).encode(), [{"c": [1]}] * 50),
    ],
)
def test_unusual_but_right_json_is_decoded(data, value):
    assert decode(data) == value


keys = st.text("ab\"'\\ 问", max_size=4)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(json_values, st.booleans())
def test_every_right_value_comes_back(value, escaped):
    assert decode(json.dumps(value, ensure_ascii=escaped).encode()) == value


@settings(max_examples=300, deadline=None)
@given(st.text('{}[]",:\\ \n0123e.-ntfu8d问', max_size=25))
def test_whatever_comes_in_is_a_value_or_a_named_problem(text):
    data = text.encode()
    try:
        value = decode(data)
    except BadJson as bad:
        assert bad.message
        assert 0 <= bad.offset <= len(data)
    else:
        assert value == json.loads(text)


@settings(max_examples=100, deadline=None)
@given(json_values, st.integers(0, 200), st.sampled_from([b"", b"\x01", b"}", b'"', b"x", b"\xff"]))
def test_damaged_json_agrees_with_the_standard_library(value, place, damage):
    data = json.dumps(value).encode()
    data = data[:place] + damage + data[place + 1 :]
    try:
        expected = json.loads(data)
    except ValueError:
        refused(data)
    else:
        try:
            assert decode(data) == expected
        except BadJson as bad:  # what the standard library lets pass
            assert bad.code in ("duplicate_key", "nul_character", "lone_surrogate", "not_a_number",
                                "number_out_of_range", "invalid_json")  # fmt: skip
