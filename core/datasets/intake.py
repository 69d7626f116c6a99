"""The guard at the door: refuses an upload at once for what a stream of bytes can show.

Knows no rows: what is inside a line is judged later, by the prepare job. Holds no more than the
current chunk, the first bytes of the file and a few counters.
"""

import codecs
from dataclasses import dataclass

from core.datasets.formats import (
    HEAD_BYTES,
    LINE_FORMATS,
    PARQUET_MAGIC,
    UTF8_BOM,
    check_format,
    detect_format,
)
from core.errors import InvalidInput, TooLarge

MAX_LINE_BYTES = 1024 * 1024
_BOMS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_PACKED = (
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "zip (or an Excel workbook)"),
    (b"PK\x05\x06", "zip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
)
_BINARY = (
    (b"SQLite format 3\x00", "an SQLite database; register it as a database instead"),
    (b"%PDF", "a PDF"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file; save the table as CSV UTF-8"),
)


@dataclass(frozen=True)
class Admitted:
    """What the door saw of a file. `lines` counts line feeds, and a last line without one."""

    format: str
    bytes: int
    lines: int


class Intake:
    """Fed an upload chunk by chunk; raises `TooLarge` or `InvalidInput` as soon as it can.

        intake = Intake("pairs.jsonl", max_bytes=2**31)
        for chunk in stream: intake.feed(chunk)
        admitted = intake.finish()

    A UTF-8 byte order mark and CRLF line ends are fine. `max_line_bytes` (without the line feed)
    bounds JSON Lines and CSV; a row of a JSON file is bounded by the prepare job.
    """

    def __init__(
        self,
        filename: str,
        *,
        max_bytes: int,
        format: str = "auto",
        max_line_bytes: int = MAX_LINE_BYTES,
    ) -> None:
        check_format(format)
        self.filename = filename
        self.max_bytes = max_bytes
        self.max_line_bytes = max_line_bytes
        self.format = format
        self._head = b""
        self._tail = b""
        self._decided = False
        self._bytes = 0  # received
        self._checked = 0  # gone through the text checks
        self._lines = 0
        self._line_start = 0  # offset of the current line
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._has_text = False

    def feed(self, chunk: bytes) -> None:
        """Check the next bytes of the file."""
        self._bytes += len(chunk)
        if self._bytes > self.max_bytes:
            raise TooLarge(
                f"the file is larger than {_size(self.max_bytes)}; split it, or upload Parquet",
                param="file",
            )
        self._tail = (self._tail + chunk[-4:])[-4:]
        if not self._decided:
            missing = HEAD_BYTES - len(self._head)
            self._head += chunk[:missing]
            if len(self._head) < HEAD_BYTES:
                return
            self._decide()
            chunk = chunk[missing:]
        self._check_text(chunk)

    def finish(self) -> Admitted:
        """The end of the file. Raises what only the end can show: empty, cut off."""
        if self._bytes == 0:
            raise self._empty()
        if not self._decided:
            self._decide()
        if self.format == "parquet":
            if self._tail != PARQUET_MAGIC or self._bytes < 12:
                raise _refused("not_parquet", "the Parquet file is cut off; upload it again")
            return Admitted(self.format, self._bytes, 0)
        self._decode(b"", final=True)
        if not self._has_text:
            raise self._empty()
        last = self._bytes > self._line_start
        return Admitted(self.format, self._bytes, self._lines + last)

    def _decide(self) -> None:
        """With the first bytes at hand: refuse what is no text, settle the format."""
        head, self._head, self._decided = self._head, b"", True
        for magic, name in _PACKED:
            if head.startswith(magic):
                raise _refused("compressed_file", f"the file is {name}; upload it unpacked")
        for magic, name in _BINARY:
            if head.startswith(magic):
                raise _refused("not_text", f"the file is {name}")
        for mark, name in _BOMS:
            if head.startswith(mark):
                raise _refused("utf16", f"the file is {name}; save it as UTF-8")
        is_parquet = head.startswith(PARQUET_MAGIC)
        if (self.format == "parquet") > is_parquet:
            raise _refused("not_parquet", "the file is no Parquet: it does not begin with PAR1")
        if is_parquet and self.format not in ("auto", "parquet"):
            raise _refused("not_text", f"the file is Parquet, not {self.format}")
        # NUL bytes before the format: UTF-16 without a mark would look like an unknown format.
        if not is_parquet:
            self._check_nul(head)
        if not head.removeprefix(UTF8_BOM).strip() and len(head) < HEAD_BYTES:
            raise self._empty()
        self.format = detect_format(self.filename, head, asked=self.format)
        self._check_text(head)

    def _check_text(self, data: bytes) -> None:
        if self.format == "parquet" or not data:
            return
        self._check_nul(data)
        self._decode(data)
        if self.format in LINE_FORMATS:
            self._check_lines(data)
        self._lines += data.count(b"\n")
        last = data.rfind(b"\n")
        if last >= 0:
            self._line_start = self._checked + last + 1
        self._checked += len(data)

    def _check_nul(self, data: bytes) -> None:
        at = data.find(b"\x00")
        if at < 0:
            return
        sides = data[0::2].count(0), data[1::2].count(0)
        if self._checked == 0 and max(sides) > len(data) // 8 and min(sides) * 8 < max(sides):
            raise _refused("utf16", "the file looks like UTF-16; save it as UTF-8")
        raise _refused(
            "not_text",
            f"a NUL byte at byte {self._checked + at + 1} ({self._line(data, at)}): "
            "this is no text; upload JSON Lines, JSON or CSV in UTF-8, or Parquet",
        )

    def _decode(self, data: bytes, *, final: bool = False) -> None:
        pending = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(data, final)
        except UnicodeDecodeError as error:
            at = error.start - pending
            raise _refused(
                "invalid_utf8",
                f"byte 0x{error.object[error.start]:02x} at byte {self._checked + at + 1} "
                f"({self._line(data, max(at, 0))}) is not UTF-8; save the file as UTF-8",
            ) from None
        self._has_text = self._has_text or bool(text.strip("\ufeff \t\r\n"))

    def _check_lines(self, data: bytes) -> None:
        """Raise for a line longer than the bound, however its bytes are spread over chunks."""
        start = self._line_start - self._checked  # below 0: the line began in an earlier chunk
        while len(data) - start > self.max_line_bytes:
            # All lines up to the last line feed within the bound are short enough.
            end = data.rfind(b"\n", max(start, 0), max(start + self.max_line_bytes + 1, 0))
            if end < 0:
                raise TooLarge(
                    f"{self._line(data, max(start, 0))} is longer than "
                    f"{_size(self.max_line_bytes)}; one row a line, none longer, is right",
                    code="line_too_long",
                    param="file",
                )
            start = end + 1

    def _line(self, data: bytes, at: int) -> str:
        before = self._lines + data.count(b"\n", 0, at)
        return f"line {before + 1}"

    def _empty(self) -> InvalidInput:
        return _refused("empty_file", "the file is empty; at least one row is right")


def _refused(code: str, message: str) -> InvalidInput:
    return InvalidInput(message, code=code, param="file")


def _size(size: int) -> str:
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"
