"""One JSON value out of untrusted bytes, or the place of what is wrong. Knows no rows, no files.

msgspec decodes; it is strict about NaN, ranges, surrogates and control characters, but its messages
name no path, it keeps the last of duplicate keys and its depth follows the stack. So each verdict
here is ours: a value that it refuses, or that looks suspicious, is read again by a small scanner.
"""

import json
import math
import re
from typing import Any

import msgspec

from core.datasets.problems import shown, step

MAX_DEPTH = 32
MAX_DIGITS = 4300  # msgspec's and Python's own bound
_DECODER = msgspec.json.Decoder()
_SPACE = re.compile(r"[ \t\n\r]*")
# A string up to its closing quote; without one the match ends where the string breaks off.
_STRING = re.compile(r'"[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*("?)', re.DOTALL)
_ESCAPE = re.compile(r'\\(u[0-9a-fA-F]{4}|["\\/bfnrt]|.)', re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORD = re.compile(r"-?[A-Za-z_][A-Za-z0-9_]*")
_WORDS = ("true", "false", "null")
_OTHER_WORDS = {
    "NaN": ("not_a_number", "JSON has no NaN; write a finite number or null"),
    "Infinity": ("not_a_number", "JSON has no Infinity; write a finite number or null"),
    "-Infinity": ("not_a_number", "JSON has no Infinity; write a finite number or null"),
    "None": ("invalid_json", "this is Python's None; JSON's is null"),
    "True": ("invalid_json", "this is Python's True; JSON's is true"),
    "False": ("invalid_json", "this is Python's False; JSON's is false"),
}


class BadJson(Exception):
    """Why bytes are no acceptable JSON: a code, a path, a sentence, the offset in bytes."""

    def __init__(self, code: str, message: str, *, path: str = "$", offset: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.path = path
        self.offset = offset


def decode(data: bytes) -> Any:
    """The value of one JSON text in UTF-8. Raises `BadJson`, always the same for the same bytes.

    Refused beside bad syntax: values nested deeper than `MAX_DEPTH`, duplicate keys, NaN and
    Infinity, numbers out of range, lone surrogates and the NUL character, which a database
    can't store.
    """
    try:
        value = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _diagnose(data) or BadJson("invalid_json", f"not valid JSON: {error}") from None
    if _suspicious(data, value) and (found := _diagnose(data)):
        raise found
    return value


def _suspicious(data: bytes, value: Any) -> bool:
    brackets = data.count(b"{") + data.count(b"[")
    if brackets > MAX_DEPTH and _deeper(value, MAX_DEPTH):
        return True
    return b"\\u0000" in data or _has_duplicate_keys(data)


def _deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, (list, dict)):
        return False
    members = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(member, levels - 1) for member in members)


class _DuplicateKey(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) > 1 and len({key for key, _ in pairs}) < len(pairs):
        raise _DuplicateKey


_PAIRS = json.JSONDecoder(object_pairs_hook=_unique)


def _has_duplicate_keys(data: bytes) -> bool:
    try:
        _PAIRS.decode(data.decode())
    except _DuplicateKey:
        return True
    return False


def _diagnose(data: bytes) -> BadJson | None:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return BadJson(
            "invalid_utf8",
            f"byte 0x{data[error.start]:02x} at byte {error.start + 1} of the row is not UTF-8; "
            "save the file as UTF-8",
            offset=error.start,
        )
    try:
        _Scanner(text).document()
    except BadJson as found:
        found.offset = len(text[: found.offset].encode())
        return found
    return None


class _Scanner:
    """Recursive descent over a text; recursion is bounded by `MAX_DEPTH`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def document(self) -> None:
        self.value("$", 0)
        self.space()
        if self.at < len(self.text):
            rest = shown(self.text[self.at : self.at + 20])
            raise self.error("invalid_json", f"{rest} follows the value; one value is right", "$")

    def space(self) -> None:
        self.at = _SPACE.match(self.text, self.at).end()

    def error(self, code: str, message: str, path: str) -> BadJson:
        place = f"{message} (character {self.at + 1})"
        return BadJson(code, place, path=path, offset=self.at)

    def value(self, path: str, depth: int) -> None:
        self.space()
        first = self.text[self.at : self.at + 1]
        if first and first in "{[":
            if depth == MAX_DEPTH:
                raise self.error(
                    "too_deep", f"nested deeper than {MAX_DEPTH} levels; flatten the row", path[:40]
                )
            self.container(path, depth, closing="}" if first == "{" else "]")
        elif first == '"':
            self.string(path)
        else:
            self.scalar(path)

    def container(self, path: str, depth: int, *, closing: str) -> None:
        self.at += 1
        self.space()
        if self.text.startswith(closing, self.at):
            self.at += 1
            return
        keys: set[str] = set()
        index = 0
        while True:
            member = self.key(path, keys) if closing == "}" else step(path, index)
            self.value(member, depth + 1)
            index += 1
            self.space()
            if self.text.startswith(closing, self.at):
                self.at += 1
                return
            self.expect(",", path, f"a comma or {closing} is right")

    def expect(self, mark: str, path: str, advice: str) -> None:
        if not self.text.startswith(mark, self.at):
            raise self.unexpected(path, advice)
        self.at += 1

    def unexpected(self, path: str, advice: str) -> BadJson:
        found = shown(self.text[self.at]) if self.at < len(self.text) else "the end of the row"
        return self.error("invalid_json", f"found {found}; {advice}", path)

    def key(self, path: str, keys: set[str]) -> str:
        self.space()
        if not self.text.startswith('"', self.at):
            raise self.unexpected(path, "a key in double quotes is right")
        key = self.string(path)
        if key in keys:
            raise self.error(
                "duplicate_key", f"the key {shown(key)} stands twice; keep one", step(path, key)
            )
        keys.add(key)
        self.space()
        self.expect(":", step(path, key), "a colon after the key is right")
        return step(path, key)

    def string(self, path: str) -> str:
        match = _STRING.match(self.text, self.at)
        if not match[1]:
            raise self.broken_string(path, match.end())
        raw = match[0]
        for escape in _ESCAPE.finditer(raw) if "\\" in raw else ():
            if len(escape[1]) == 1 and escape[1] not in '"\\/bfnrt':
                message = f"{shown(escape[0])} is no JSON escape; write a backslash as \\\\"
                raise self.error("invalid_json", message, path)
        value = json.loads(raw)
        if "\x00" in value:
            message = "the character \\u0000 can't be stored; remove it"
            raise self.error("nul_character", message, path)
        if any("\ud800" <= char <= "\udfff" for char in value):
            message = "half of a surrogate pair (\\ud800 to \\udfff) is no character; write both"
            raise self.error("lone_surrogate", message, path)
        self.at = match.end()
        return value

    def broken_string(self, path: str, end: int) -> BadJson:
        if self.text[end : end + 1] in ("", "\\"):
            return self.error("invalid_json", "this string is not closed by a double quote", path)
        name = {"\n": "line break", "\t": "tab"}.get(self.text[end], "control character")
        self.at = end
        return self.error(
            "control_character", f"a raw {name} inside a string; write it as an escape (\\n)", path
        )

    def scalar(self, path: str) -> None:
        word = _WORD.match(self.text, self.at)
        if word and word[0] in _WORDS:
            self.at = word.end()
        elif word and word[0] in _OTHER_WORDS:
            raise self.error(*_OTHER_WORDS[word[0]], path)
        else:
            self.number(path)

    def number(self, path: str) -> None:
        match = _NUMBER.match(self.text, self.at)
        if match is None:
            raise self.unexpected(path, "a JSON value (text in double quotes) is right")
        if match[1] is None and match[2] is None:
            if len(match[0]) > MAX_DIGITS:
                message = f"an integer of {len(match[0])} digits; write it as a string"
                raise self.error("number_out_of_range", message, path)
        elif math.isinf(float(match[0])):
            message = f"{shown(match[0])[1:-1]} is out of a number's range; write it as a string"
            raise self.error("number_out_of_range", message, path)
        self.at = match.end()
