"""Log lines of every process: what they tell of their work, and that no secret stands in them.

`text` is for people, `json` for what collects logs: one object a line. Knows no process in
particular: whoever begins a request or an attempt says so by `logged`.
"""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from core.redaction import redact
from core.settings import get_settings

_context: ContextVar[dict[str, Any] | None] = ContextVar("log_context", default=None)


def _fields() -> dict[str, Any]:
    return _context.get() or {}


@contextmanager
def logged(**fields: Any) -> Iterator[None]:
    """Every line logged within bears these fields too: request_id, project, job, attempt."""
    token = _context.set(_fields() | fields)
    try:
        yield
    finally:
        _context.reset(token)


def note(**fields: Any) -> None:
    """From here on to the end of what `logged` surrounds."""
    _context.set(_fields() | fields)


class TextFormatter(logging.Formatter):
    """A line for people; what it belongs to stands in brackets."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s%(context)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(str(value) for value in _fields().values())
        record.context = f" [{fields}]" if fields else ""
        return redact(super().format(record))


class JsonFormatter(logging.Formatter):
    """An object a line: time, level, logger, pid, message, the context's fields, and `data`, which
    is what the line gave as `extra={"data": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            **_fields(),
            "message": redact(record.getMessage()),
        }
        if isinstance(data := getattr(record, "data", None), dict):
            line["data"] = {name: _plain(value) for name, value in data.items()}
        if record.exc_info:
            line["exception"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float) else redact(str(value))


def make_formatter() -> logging.Formatter:
    return JsonFormatter() if get_settings().log_format == "json" else TextFormatter()


def install(level: int | str = logging.INFO) -> None:
    """Let all loggers of this process write to stderr by our formatter, and no other way."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(make_formatter())
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
