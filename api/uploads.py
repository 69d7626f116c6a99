"""Multipart forms, streamed: fields into a dict, the one file to disk, hashed and guarded on the
way. Knows nothing of what becomes of the file."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from core.errors import InvalidInput, TooLarge
from core.files.purposes import OF_DATASET, Guard, guard_for
from core.settings import get_settings
from core.storage import StoredFile

MAX_FIELD_BYTES = 64 * 1024
MAX_FIELDS = 32


@dataclass
class Form:
    """A received form. `path` is a temporary file: whoever keeps it moves it, else `discard`."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str = ""
    path: Path | None = None
    stored: StoredFile | None = None
    guard: Guard | None = None
    """What has looked at the file."""

    def require_file(self, part: str = "file") -> tuple[Path, StoredFile]:
        if self.path is None or self.stored is None:
            message = f"The form has no file; send one as the part '{part}'."
            raise InvalidInput(message, param=part)
        return self.path, self.stored

    def discard(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


MakeGuard = Callable[[Form], Guard]
"""Chooses a guard by what has come of the form when its file begins."""


class FormReader:
    """The parser's callbacks: collects one form."""

    def __init__(self, make_guard: MakeGuard) -> None:
        self.form = Form()
        self._make_guard = make_guard
        self._guard: Guard | None = None
        self._file: Any = None
        self._sha256 = hashlib.sha256()
        self._size = 0
        self._header = bytearray()
        self._disposition = b""
        self._name = ""
        self._value = bytearray()
        self._whole = False

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_begin": self._on_part_begin,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def finish(self) -> Form:
        """The form, if its last boundary came: the parser itself does not miss it."""
        if not self._whole:
            raise InvalidInput("The form is cut off before its end; send it again.")
        return self.form

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _on_part_begin(self) -> None:
        self._disposition, self._name = b"", ""
        self._header, self._value = bytearray(), bytearray()

    def _on_end(self) -> None:
        self._whole = True

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        if self._value:
            self._header, self._value = bytearray(), bytearray()
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if not self._name:
            raise InvalidInput("A part of the form has no name; name the file's part 'file'.")
        if b"filename" not in options:
            return
        if self.form.path is not None:
            raise InvalidInput("The form has two files; send one.", param=self._name)
        self.form.filename = _file_name(options)
        self._guard = self.form.guard = self._make_guard(self.form)
        folder = get_settings().data_dir / "uploads"
        folder.mkdir(parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(dir=folder)
        self._file, self.form.path = os.fdopen(handle, "wb"), Path(path)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._guard is None:
            self._value += data[start:end]
            if len(self._value) > MAX_FIELD_BYTES:
                raise TooLarge(f"The field '{self._name}' is too long.", param=self._name)
            return
        chunk = data[start:end]
        self._guard.feed(chunk)
        self._sha256.update(chunk)
        self._size += len(chunk)
        self._file.write(chunk)

    def _on_part_end(self) -> None:
        if self._guard is not None:
            self._guard.finish()
            self._guard = None
            self._file.flush()
            self.form.stored = StoredFile(self.form.filename, self._size, self._sha256.hexdigest())
            return
        self.form.fields[self._name] = bytes(self._value).decode("utf-8", "replace")
        self._value = bytearray()
        if len(self.form.fields) > MAX_FIELDS:
            raise TooLarge("The form has too many fields.")


def _file_name(options: dict[bytes, bytes]) -> str:
    """The name a client gave, without any folder. (RFC 7578 forbids `filename*`.)"""
    given = options[b"filename"].decode("utf-8", "replace").replace("\x00", "")
    return Path(given).name or "upload"


async def read_form(request: Request, make_guard: MakeGuard) -> Form:
    """Receive a multipart form; a refusal comes as soon as the bytes show it, and leaves nothing.

    Raises InvalidInput (400) or TooLarge (413).
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise InvalidInput("Send multipart/form-data: the part 'file' and the fields beside it.")
    reader = FormReader(make_guard)
    try:
        parser = MultipartParser(options[b"boundary"], reader.callbacks())
        async for chunk in request.stream():
            parser.write(chunk)
        parser.finalize()
        return reader.finish()
    except FormParserError as error:
        reader.form.discard()
        raise InvalidInput(f"The form can't be read: {error}") from None
    except BaseException:
        reader.form.discard()
        raise
    finally:
        reader.close()


async def read_data_form(request: Request) -> Form:
    """A form whose file is data for a dataset: bounded, text or Parquet, and of a known format."""
    return await read_form(request, lambda form: guard_for(OF_DATASET, form.filename))


class SizeGuard:
    """Bounds a file's bytes, and wants its first ones to be as said."""

    def __init__(self, *, max_bytes: int, magic: bytes, expected: str) -> None:
        self._max_bytes = max_bytes
        self._magic = magic
        self._expected = expected
        self._head = b""
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > self._max_bytes:
            limit = self._max_bytes / 1024**3
            raise TooLarge(f"The file is larger than {limit:g} GiB.", param="file")
        if len(self._head) < len(self._magic):
            self._head += chunk[: len(self._magic) - len(self._head)]
            if not self._magic.startswith(self._head):
                raise InvalidInput(f"The file is no {self._expected}.", param="file")

    def finish(self) -> None:
        if self._head != self._magic:
            raise InvalidInput(f"The file is no {self._expected}.", param="file")
