"""Core error -> status code and body: one table. Every error has the same four keys."""

import errno
import logging
import sqlite3
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import DataError, IntegrityError, OperationalError, TimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from api.gone import nobody_left
from core import errors

log = logging.getLogger(__name__)

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# What a database says where something is there already, or is not there any more.
TAKEN = ("23505", sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
MISSING = ("23503", sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY)
GONE_MESSAGE = "Another request changed what this one needs just now; look at what is there."

# The type is OpenAI's word for the kind; a client's SDK raises by the status.
STATUS: dict[type[errors.TuneyardError], tuple[int, str]] = {
    errors.Unauthenticated: (401, "authentication_error"),
    errors.Forbidden: (403, "permission_error"),
    errors.NotFound: (404, "invalid_request_error"),
    errors.TooLarge: (413, "invalid_request_error"),
    # Not 409: the SDK would send the same request twice more.
    errors.WrongState: (400, "invalid_request_error"),
    errors.InvalidInput: (400, "invalid_request_error"),
    errors.Conflict: (409, "invalid_request_error"),
    errors.QuotaExceeded: (429, "insufficient_quota"),
    errors.Unavailable: (503, "server_error"),
    errors.TuneyardError: (400, "invalid_request_error"),
}

# What a client's SDK shall do: none of these is to be guessed at. For a quota that is used up it
# does not wait (no SDK waits for ten minutes), since what uses it may take hours.
HEADERS: dict[type[errors.TuneyardError], dict[str, str]] = {
    errors.Conflict: {"x-should-retry": "false"},
    errors.QuotaExceeded: {"Retry-After": "600"},
    errors.Unavailable: {"Retry-After": "5"},
}


def error_body(message: str, kind: str, *, param: str | None, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def install_error_handlers(app: FastAPI) -> None:
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)


def answer_to(request: Request, error: Exception) -> Response:
    """The answer to what went wrong outside of any route."""
    return next(HANDLERS[kind] for kind in type(error).__mro__ if kind in HANDLERS)(request, error)


def _refused(request: Request, error: errors.TuneyardError) -> JSONResponse:
    status, kind = next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)
    body = error_body(error.message, kind, param=error.param, code=error.code)
    headers = next((HEADERS[cls] for cls in type(error).__mro__ if cls in HEADERS), None)
    return JSONResponse(body, status, headers=headers)


def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    """A field that does not fit: 400, with its place in `param`."""
    found = error.errors()
    place = _place(error, found[0])
    # What may be one of several things is wrong in as many ways.
    ways = dict.fromkeys(one["msg"] for one in found if _place(error, one) == place)
    wrong = ", or: ".join(ways)
    body = error_body(
        f"{place}: {wrong}" if place else wrong,
        "invalid_request_error",
        param=place or None,
        code=found[0]["type"],
    )
    return JSONResponse(body, 400)


def _place(error: RequestValidationError, one: dict[str, Any]) -> str:
    """Where it is, as `method.supervised`. What pydantic says begins with where it stood (body,
    query), and names in between what a value might have been: neither is a place in the body. Only
    the first name may be none, that of a job's type."""
    _, *places = one["loc"]
    found: list[str] = []
    value = error.body
    for number, place in enumerate(places, start=1):
        if _holds(value, place):
            value = value[place]
        elif 1 < number < len(places) or not _may_lack(value, place):
            continue
        found.append(str(place))
    return ".".join(found)


def _may_lack(value: Any, place: str | int) -> bool:
    """Pydantic's own names of what a value might have been are no field's."""
    return isinstance(value, dict | None) and "[" not in str(place)


def _holds(value: Any, place: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(place, int) and place < len(value)
    return isinstance(value, dict) and place in value


def _http(request: Request, error: HTTPException) -> JSONResponse:
    kind = "invalid_request_error" if error.status_code < 500 else "server_error"
    message = f"{request.method} {request.url.path}: {error.detail}"
    body = error_body(message, kind, param=None, code=None)
    headers = {"Allow": _methods(request)} if error.status_code == 405 else error.headers
    return JSONResponse(body, error.status_code, headers=headers)


def _methods(request: Request) -> str:
    """All that the path takes: a route of ours takes one, and knows of no other."""
    path = request.url.path
    places = [(path, request.app)]
    places += [(path.removeprefix(prefix), it) for prefix, it in request.app.state.routers]
    found = {
        method
        for place, router in places
        for route in router.routes
        if isinstance(route, Route) and route.path_regex.match(place)
        for method in route.methods or ()
    }
    return ", ".join(sorted(found))


def _database_away(request: Request, error: OperationalError) -> JSONResponse:
    log.error("database: %s", error)
    body = error_body(
        "The platform's database does not answer just now; try again in a moment.",
        "server_error",
        param=None,
        code="unavailable",
    )
    return JSONResponse(body, 503, headers={"Retry-After": "5"})


def _disk_full(request: Request, error: OSError) -> JSONResponse:
    if error.errno not in DISK_FULL:
        return broken(request, error)
    log.error("disk full: %s", error)
    message = (
        "The platform's disk is full; nothing was kept. Try again when its operator made room."
    )
    body = error_body(message, "server_error", param=None, code="disk_full")
    return JSONResponse(body, 503, headers={"Retry-After": "60"})


def _unstorable(request: Request, error: DataError) -> JSONResponse:
    """What a database can't take as a value is an odd id or name, not our fault."""
    message = "A value of the request can't be stored or looked up; does it hold odd characters?"
    body = error_body(message, "invalid_request_error", param=None, code="invalid_input")
    return JSONResponse(body, 400)


def _collided(request: Request, error: IntegrityError) -> JSONResponse:
    """Two requests at the same moment, of which the other was quicker: it took the name, or took
    away what this one names. Whatever else a database refuses is our fault."""
    kind = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "sqlite_errorcode", None)
    if kind in MISSING:
        return _refused(request, errors.Conflict(GONE_MESSAGE))
    if kind not in TAKEN:
        return broken(request, error)
    message = "Another request made a thing of this name just now; choose another name."
    body = error_body(message, "invalid_request_error", param=None, code="name_taken")
    return JSONResponse(body, 400)


def _left(request: Request, error: ClientDisconnect) -> Response:
    """In the middle of its body: that happens, and is nobody's fault."""
    return nobody_left()


def broken(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected error in %s %s", request.method, request.url.path, exc_info=error)
    message = "An unexpected error; the server's log has it under this request's x-request-id."
    return JSONResponse(error_body(message, "server_error", param=None, code="internal"), 500)


HANDLERS: dict[type[Exception], Callable[[Request, Any], Response]] = {
    errors.TuneyardError: _refused,
    RequestValidationError: _invalid,
    HTTPException: _http,
    ClientDisconnect: _left,
    OSError: _disk_full,
    OperationalError: _database_away,
    TimeoutError: _database_away,
    DataError: _unstorable,
    IntegrityError: _collided,
    Exception: broken,
}
