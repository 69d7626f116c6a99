"""One line of a batch's file: read, and judged by itself. Knows no other line, no model's name.

{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {…}}
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from core.chat.request import ChatRequest
from core.chat.sql import SqlRequest
from core.datasets.jsonfiles import JsonLines
from core.datasets.problems import shown
from core.settings import get_settings

Endpoint = Literal["/v1/chat/completions", "/v1/sql"]
BODIES: dict[str, type[ChatRequest] | type[SqlRequest]] = {
    "/v1/chat/completions": ChatRequest,
    "/v1/sql": SqlRequest,
}
NEEDED = ("custom_id", "method", "url", "body")
MOST_ID_CHARACTERS = 512
CODES = {"missing": "missing_required_parameter", "extra_forbidden": "unknown_parameter"}


@dataclass(frozen=True)
class LineError:
    """What is wrong with a line, as a batch's `errors.data` says it."""

    code: str
    message: str
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """`row`: its place among the lines that hold something, from 0. `number`: the line, from 1.
    It has a request or an error."""

    row: int
    number: int
    custom_id: str | None
    request: ChatRequest | SqlRequest | None = None
    error: LineError | None = None


class BadLine(Exception):
    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.error = LineError(code, message, param)


def read_lines(path: Path, endpoint: Endpoint) -> Iterator[Line]:
    """Every line that is not blank, one at a time."""
    with _rows_of(path) as rows:
        for place, row in enumerate(rows):
            if row.value is None:
                error = LineError("invalid_json_line", row.problem.message)
                yield Line(place, row.line, None, error=error)
                continue
            try:
                request = _request(row.value, endpoint)
            except BadLine as bad:
                yield Line(place, row.line, _name_of(row.value), error=bad.error)
            else:
                yield Line(place, row.line, row.value["custom_id"], request)


def read_names(path: Path) -> Iterator[tuple[int, str | None]]:
    """Row and `custom_id` of every line, without a look at what it asks."""
    with _rows_of(path) as rows:
        for place, row in enumerate(rows):
            yield place, _name_of(row.value or {})


def _rows_of(path: Path) -> JsonLines:
    """With lines as long as an upload may have them."""
    return JsonLines(path, max_row_bytes=get_settings().max_line_bytes)


def _name_of(value: Mapping[str, Any]) -> str | None:
    name = value.get("custom_id")
    return name if isinstance(name, str) and 0 < len(name) <= MOST_ID_CHARACTERS else None


def _request(value: Mapping[str, Any], endpoint: Endpoint) -> ChatRequest | SqlRequest:
    for field in NEEDED:
        if value.get(field) is None:
            example = '{"custom_id": …, "method": "POST", "url": …, "body": {…}}'
            message = f"'{field}' is missing; {example} is right"
            raise BadLine("missing_required_parameter", message, field)
    for field in value:
        if field not in NEEDED:
            message = f"{shown(field)} is not known; a line has {', '.join(NEEDED)}"
            raise BadLine("unknown_parameter", message, field[:MOST_ID_CHARACTERS])
    if _name_of(value) is None:
        message = f"a string of 1 to {MOST_ID_CHARACTERS} characters is right"
        raise BadLine("invalid_custom_id", message, "custom_id")
    if value["method"] != "POST":
        raise BadLine("invalid_method", f"{shown(value['method'])}; POST is right", "method")
    if value["url"] != endpoint:
        message = f"{shown(value['url'])}; the batch's endpoint is {endpoint}"
        raise BadLine("invalid_url", message, "url")
    return _body(value["body"], endpoint)


def _body(body: Any, endpoint: Endpoint) -> ChatRequest | SqlRequest:
    if not isinstance(body, dict):
        raise BadLine("invalid_body", "an object with the request's parameters is right", "body")
    if body.get("stream"):
        message = "a batch has no streams; leave it out"
        raise BadLine("streaming_unsupported", message, "body.stream")
    try:
        return BODIES[endpoint].model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    param = ".".join(str(part) for part in ("body", *first["loc"]))
    code = CODES.get(first["type"], first["type"])
    raise BadLine(code, f"{param}: {first['msg']}", param)
