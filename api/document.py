"""The OpenAPI document, completed: what the gate and the error handlers do stands in no route.

Each operation says which scope it wants (`security`), every error with an example, the headers that
answers bear; and not the 422 that FastAPI announces, as a wrong field is a 400 here.
"""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, APIRouter

from api.deps import SCOPE_OF
from api.examples import REQUESTS

Json = dict[str, Any]

KEY_SCHEME: Json = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key of a project: `Authorization: Bearer ty-…`. `admin` includes `write` "
    "includes `read`.",
}
REQUEST_ID: Json = {
    "description": "Stands in every log line of this request.",
    "schema": {"type": "string"},
}
RETRY_AFTER: Json = {
    "description": "Seconds after which to try again.",
    "schema": {"type": "string", "pattern": "^[0-9]+$"},
}
REPLAYED: Json = {
    "description": "`true` if the answer is that to an earlier request with this Idempotency-Key.",
    "schema": {"type": "string"},
}


ERROR_SCHEMA: Json = {"$ref": "#/components/schemas/ErrorBody"}


def _error(message: str, kind: str, code: str | None, param: str | None = None) -> Json:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


EXAMPLES: dict[str, Json] = {
    "400": _error(
        "priority: Input should be less than or equal to 100",
        "invalid_request_error",
        "less_than_equal",
        "priority",
    ),
    "401": _error(
        "Send 'Authorization: Bearer <key>' with a key of this platform.",
        "authentication_error",
        "invalid_api_key",
    ),
    "403": _error(
        "This key lacks the scope 'write'; ask for a key that has it.",
        "permission_error",
        "insufficient_scope",
    ),
    "404": _error(
        "There is no job 'job_1' in this project.", "invalid_request_error", "not_found", "job_id"
    ),
    "409": _error(
        "This Idempotency-Key was used for another request; take a fresh key for a new one.",
        "invalid_request_error",
        "idempotency_key_reused",
        "Idempotency-Key",
    ),
    "413": _error(
        "The request's body is larger than 10 MiB; send less at once.",
        "invalid_request_error",
        "too_large",
    ),
    "429": _error(
        "This project may have 10 queued jobs and has them; wait until some have begun, cancel "
        "some, or ask the operator for more.",
        "insufficient_quota",
        "quota_exceeded",
    ),
    "503": _error(
        "The platform's database does not answer just now; try again in a moment.",
        "server_error",
        "unavailable",
    ),
}


def install_document(app: FastAPI) -> None:
    """Let the application answer with the completed document; it is made once.

    `app.state.routers` has its routers with their prefixes: it does not tell what it includes.
    """

    def document() -> Json:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _complete(app: FastAPI) -> Json:
    made = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    scopes = dict(_scopes(app.state.routers))
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            _complete_operation(operation, scopes.get((method.upper(), path)))
            _show_requests(operation, REQUESTS.get((method, path), {}))
    made["components"]["securitySchemes"] = {"key": KEY_SCHEME}
    for unused in ("HTTPValidationError", "ValidationError"):
        made["components"]["schemas"].pop(unused, None)
    return made


def _complete_operation(operation: Json, scope: str | None) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    if scope is not None:
        operation["security"] = [{"key": [scope]}]
    takes_key = any(one["name"] == "Idempotency-Key" for one in operation.get("parameters", ()))
    for status, response in responses.items():
        headers = response.setdefault("headers", {})
        headers["x-request-id"] = REQUEST_ID
        if status in ("429", "503"):
            headers["Retry-After"] = RETRY_AFTER
        if takes_key and status.startswith("2"):
            headers["idempotent-replayed"] = REPLAYED
        contents = response.get("content", {}).values()
        if any(content.get("schema") == ERROR_SCHEMA for content in contents):
            # In JSON, whatever the operation's own content is.
            shown = {"schema": ERROR_SCHEMA, "example": EXAMPLES[status]}
            response["content"] = {"application/json": shown}


def _show_requests(operation: Json, bodies: Json) -> None:
    if bodies:
        content = operation["requestBody"]["content"]["application/json"]
        content["examples"] = {name: {"value": body} for name, body in bodies.items()}


def _scopes(routers: list[tuple[str, APIRouter]]) -> Iterator[tuple[tuple[str, str], str]]:
    """By method and path: the largest scope that an endpoint asks for."""
    for prefix, router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute):
                asked = [SCOPE_OF[call] for call in _calls(route.dependant) if call in SCOPE_OF]
                for method in route.methods if asked else ():
                    yield (method, prefix + route.path_format), max(asked, key=_RANK.index)


_RANK = list(SCOPE_OF.values())


def _calls(dependant: Dependant) -> Iterator[Any]:
    for one in dependant.dependencies:
        yield one.call
        yield from _calls(one)
