"""Rows out of CSV and Parquet, in bounded memory. Knows no roles of columns."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.datasets.formats import UTF8_BOM
from core.datasets.rows import MAX_ROW_BYTES, Row, bad_row, too_large

_DELIMITERS = ",;\t"
_BATCH_ROWS = 256
# A row group is read as a whole; a small file can claim to unpack to any size.
MAX_COLUMN_CHUNK_BYTES = 1024**3


class _BadRow(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class _Lines:
    """Decoded lines for csv.reader; bounds what one record may take (an unclosed quote)."""

    def __init__(self, path: Path, max_row_bytes: int) -> None:
        self.stream = path.open("rb", buffering=256 * 1024)
        self.max_row_bytes = max_row_bytes
        self.line = 0
        self.record_bytes = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        data = self.stream.readline(self.max_row_bytes + 2)
        if not data:
            raise StopIteration
        self.line += 1
        if self.line == 1:
            data = data.removeprefix(UTF8_BOM)
        self.record_bytes += len(data)
        if self.record_bytes > self.max_row_bytes + 2 or not self._whole(data):
            raise _BadRow(
                "row_too_large",
                f"the row is larger than {self.max_row_bytes} bytes; shorten it, "
                "or look for a double quote that is never closed",
            )
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise _BadRow(
                "invalid_utf8",
                f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as CSV UTF-8",
            ) from None

    def _whole(self, data: bytes) -> bool:
        if data.endswith(b"\n") or len(data) < self.max_row_bytes + 2:
            return True
        while (rest := self.stream.readline(65536)) and not rest.endswith(b"\n"):
            pass
        return False


class CsvRows:
    """Comma, semicolon or tab, whichever the header has most of; RFC 4180 quotes.

    The first record is the header. A record's line is the line on which it begins.
    """

    def __init__(self, path: Path, *, max_row_bytes: int = MAX_ROW_BYTES) -> None:
        self.size = path.stat().st_size
        self.max_row_bytes = max_row_bytes
        self._lines = _Lines(path, max_row_bytes)

    def __enter__(self) -> "CsvRows":
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.stream.close()

    def position(self) -> int:
        return self._lines.stream.tell()

    def __iter__(self) -> Iterator[Row]:
        csv.field_size_limit(self.max_row_bytes + 2)  # else 128 KiB, and for the whole process
        header: list[str] | None = None
        reader = csv.reader(self._lines, strict=True, delimiter=self._delimiter())
        while True:
            line = self._lines.line + 1
            self._lines.record_bytes = 0
            try:
                record = next(reader)
            except StopIteration:
                return
            except _BadRow as bad:
                yield bad_row(line, bad.code, bad.message)
                continue
            except csv.Error as error:
                yield bad_row(line, "invalid_csv", _csv_advice(str(error)))
                continue
            if not record:
                continue
            if header is None:
                header = [name.strip() for name in record]
                if fault := _header_fault(header):
                    yield bad_row(line, "invalid_header", fault)
                    return
            else:
                yield _record(line, header, record)

    def _delimiter(self) -> str:
        start = self._lines.stream.peek(4096)[:4096].decode(errors="replace")
        header = start.lstrip("\ufeff\r\n").split("\n", 1)[0]
        return max(_DELIMITERS, key=header.count)


def _header_fault(header: list[str]) -> str | None:
    repeated = [name for name in header if header.count(name) > 1]
    if repeated:
        return f"the column {repeated[0]!r} stands twice in the header; name each column once"
    return None


def _record(line: int, header: list[str], record: list[str]) -> Row:
    if len(record) != len(header):
        return bad_row(
            line,
            "wrong_column_count",
            f"{len(record)} fields where the header has {len(header)}; "
            'put a field with commas or line breaks in double quotes, and write " inside as ""',
        )
    return Row(line, dict(zip(header, record, strict=True)))


def _csv_advice(error: str) -> str:
    if "unexpected end" in error:
        return "a double quote that opens here is never closed"
    if "new-line character" in error or "new line character" in error:
        return "a carriage return inside the row; end rows with LF or CRLF, quote fields with one"
    if "expected after" in error:
        return 'text follows a closing double quote; write a double quote inside a field as ""'
    return error


class ParquetRows:
    """Text, number, boolean and list columns of a Parquet file. A row's line is its number."""

    def __init__(self, path: Path, *, max_row_bytes: int = MAX_ROW_BYTES) -> None:
        self.size = path.stat().st_size
        self.max_row_bytes = max_row_bytes
        self._path = path
        self._file = None
        self._done = 0.0

    def __enter__(self) -> "ParquetRows":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def position(self) -> int:
        return int(self.size * self._done)

    def __iter__(self) -> Iterator[Row]:
        import pyarrow as pa  # slow to import, and only this format needs it

        try:
            yield from self._rows()
        except (pa.ArrowException, OSError) as error:
            message = f"the Parquet file can't be read: {error}; write it again"
            yield bad_row(0, "invalid_parquet", message)

    def _rows(self) -> Iterator[Row]:
        import pyarrow.parquet as pq

        self._file = pq.ParquetFile(self._path)
        columns = [field.name for field in self._file.schema_arrow if _is_readable(field.type)]
        total = self._file.metadata.num_rows
        if bad := _claims_too_much(self._file.metadata):
            yield bad_row(0, "invalid_parquet", bad)
            return
        line = 1
        for batch in self._file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
            yield from self._batch_rows(line, batch)
            line += batch.num_rows
            self._done = (line - 1) / max(total, 1)

    def _batch_rows(self, line: int, batch: Any) -> Iterator[Row]:
        values = _whole_batch(batch) if batch.nbytes <= self.max_row_bytes else None
        for at in range(batch.num_rows):
            if values is None:
                yield self._row(line + at, batch.slice(at, 1))
            else:
                yield Row(line + at, values[at])

    def _row(self, line: int, row: Any) -> Row:
        if row.nbytes > self.max_row_bytes:
            return too_large(line, self.max_row_bytes)
        try:
            return Row(line, row.to_pylist()[0])
        except UnicodeDecodeError as error:
            return bad_row(line, "invalid_utf8", f"a text is not UTF-8 ({error.reason})")


def _whole_batch(batch: Any) -> list[dict[str, Any]] | None:
    """The rows of a batch, 20 times faster than one by one; None where a text is not UTF-8."""
    try:
        return batch.to_pylist()
    except UnicodeDecodeError:  # Arrow does not check texts
        return None


def _is_readable(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_list(kind) or types.is_large_list(kind):
        return types.is_struct(kind.value_type) or _is_readable(kind.value_type)
    texts = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return texts or types.is_integer(kind) or types.is_boolean(kind) or types.is_null(kind)


def _claims_too_much(metadata: Any) -> str | None:
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(column)
            if chunk.total_uncompressed_size > MAX_COLUMN_CHUNK_BYTES:
                return (
                    f"column {chunk.path_in_schema!r} unpacks to more than 1 GiB in one row group; "
                    "write smaller row groups"
                )
    return None
