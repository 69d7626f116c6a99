"""Rows out of JSON Lines and out of JSON arrays, in bounded memory. Knows no columns."""

import re
from collections.abc import Iterator
from pathlib import Path

from core.datasets.formats import UTF8_BOM
from core.datasets.problems import shown
from core.datasets.rows import MAX_ROW_BYTES, Row, bad_row, json_row, too_large

CHUNK = 256 * 1024
_OUTSIDE = re.compile(rb'["\[\]{},]')
_INSIDE = re.compile(rb'["\\]')
_SPACE = b" \t\r\n"


class JsonLines:
    """One object a line. Blank lines are skipped; CRLF and a byte order mark are fine."""

    def __init__(self, path: Path, *, max_row_bytes: int = MAX_ROW_BYTES) -> None:
        self.size = path.stat().st_size
        self.max_row_bytes = max_row_bytes
        self._stream = path.open("rb", buffering=CHUNK)

    def __enter__(self) -> "JsonLines":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def position(self) -> int:
        return self._stream.tell()

    def __iter__(self) -> Iterator[Row]:
        line = 0
        bound = self.max_row_bytes + 2  # CRLF
        while data := self._stream.readline(bound):
            line += 1
            if len(data) == bound and not data.endswith(b"\n"):
                self._skip_line()
                yield too_large(line, self.max_row_bytes)
                continue
            data = data.removeprefix(UTF8_BOM) if line == 1 else data
            data = data.strip(_SPACE)
            if data:
                yield json_row(line, data)

    def _skip_line(self) -> None:
        while (data := self._stream.readline(CHUNK)) and not data.endswith(b"\n"):
            pass


class JsonArray:
    """The elements of one top-level array, each judged like a line of JSON Lines."""

    def __init__(self, path: Path, *, max_row_bytes: int = MAX_ROW_BYTES) -> None:
        self.size = path.stat().st_size
        self.max_row_bytes = max_row_bytes
        self._stream = path.open("rb", buffering=0)

    def __enter__(self) -> "JsonArray":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def position(self) -> int:
        return self._stream.tell()

    def __iter__(self) -> Iterator[Row]:
        cutter = _Cutter(self.max_row_bytes)
        start = self._stream.read(len(UTF8_BOM))
        chunk = start.removeprefix(UTF8_BOM)
        while chunk or start:
            yield from cutter.feed(chunk)
            if cutter.phase == "given up":
                return
            chunk = start = self._stream.read(CHUNK)
        if cutter.phase != "after":
            message = "the file ends before the array does; a ] at the end is right"
            yield bad_row(cutter.line, "invalid_json", message)


class _Cutter:
    """Cuts an array into its elements by counting brackets outside strings, without decoding.

    What stands between two commas of the outermost level is one JSON text, whatever it is.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.line = 1
        self.phase = "before"  # inside, after; or "given up"
        self._depth = 0
        self._in_string = False
        self._escaped = False  # the last chunk ended with a backslash
        self._elements = 0
        self._begin()

    def _begin(self) -> None:
        self._element = bytearray()
        self._element_line = 0  # 0: only space so far
        self._overflow = False

    def feed(self, chunk: bytes) -> Iterator[Row]:
        """The rows that end in this chunk."""
        start = 0
        if self.phase == "before":
            rest = chunk.lstrip(_SPACE)
            start = len(chunk) - len(rest)
            self.line += chunk.count(b"\n", 0, start)
            if not rest:
                return
            if not rest.startswith(b"["):
                yield self._give_up(rest, "a JSON file of rows is one array: [{…}, {…}]")
                return
            self.phase = "inside"
            start += 1
        at = start
        while self.phase == "inside":
            at = self._next_end(chunk, at)
            self._collect(chunk[start : len(chunk) if at < 0 else at])
            if at < 0:
                return
            yield from self._finish(last=chunk[at] == ord("]"))
            at = start = at + 1
        if rest := chunk[start:].strip(_SPACE):
            yield self._give_up(rest, "nothing may follow the array")

    def _next_end(self, chunk: bytes, at: int) -> int:
        """Where the current element ends, or -1 if not in this chunk."""
        if self._escaped and at < len(chunk):
            self._escaped = False
            at += 1
        while True:
            match = (_INSIDE if self._in_string else _OUTSIDE).search(chunk, at)
            if match is None:
                return -1
            at = match.end()
            mark = match[0]
            if mark == b"\\":
                self._escaped = at == len(chunk)
                at += 1
            elif mark == b'"':
                self._in_string = not self._in_string
            elif mark in b"[{":
                self._depth += 1
            elif self._depth == 0 and mark in b",]":
                return match.start()
            elif mark in b"]}":
                self._depth = max(0, self._depth - 1)

    def _collect(self, data: bytes) -> None:
        if not self._element_line:
            rest = data.lstrip(_SPACE)
            self.line += data.count(b"\n", 0, len(data) - len(rest))
            if not rest:
                return
            data = rest
            self._element_line = self.line
        self.line += data.count(b"\n")
        if self._overflow or len(self._element) + len(data) > self.max_bytes:
            self._overflow = True
            self._element.clear()
        else:
            self._element += data

    def _finish(self, *, last: bool) -> Iterator[Row]:
        line, data, overflow = self._element_line, bytes(self._element), self._overflow
        self._begin()
        if last:
            self.phase = "after"
        if overflow:
            yield too_large(line, self.max_bytes)
        elif line:
            yield json_row(line, data)
        elif self._elements or not last:
            message = "a comma without a row beside it; remove the comma"
            yield bad_row(self.line, "invalid_json", message)
        self._elements += 1

    def _give_up(self, rest: bytes, advice: str) -> Row:
        self.phase = "given up"
        found = shown(rest[:20].decode(errors="replace"))
        return bad_row(self.line, "invalid_json", f"found {found}; {advice}")
