"""The OpenAPI document as a list of routes: a test can walk all of them, present and future.

What a walk needs of a route is made of the document: a body that fits, the scope that it wants.
"""

from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

LESSER: dict[str, tuple[str, ...]] = {"read": (), "write": ("read",), "admin": ("read", "write")}
"""By scope: what a key has that lacks it."""


@dataclass(frozen=True)
class Route:
    """One operation of the document."""

    method: str
    path: str
    scope: str
    creates: bool
    """It takes an Idempotency-Key."""
    body: Any
    """JSON that fits its schema; None if it takes none."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def url(self, ids: dict[str, str]) -> str:
        """With these ids; one that is missing says which route asks for it."""
        names = [part.partition("}")[0] for part in self.path.split("{")[1:]]
        missing = [name for name in names if name not in ids]
        assert not missing, f"{self} names {missing}: tests/api/belongings.py has to own one"
        return self.path.format(**ids)

    def unknown(self) -> str:
        """With ids that nobody has."""
        names = [part.partition("}")[0] for part in self.path.split("{")[1:]]
        return self.path.format(**dict.fromkeys(names, "nothing"))


def v1_routes(app: FastAPI) -> list[Route]:
    document = app.openapi()
    return [
        _route(document, method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if path.startswith("/v1/")
    ]


def _route(document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> Route:
    json = operation.get("requestBody", {}).get("content", {}).get("application/json")
    return Route(
        method,
        path,
        scope=operation["security"][0]["key"][0],
        creates=any(one["name"] == "Idempotency-Key" for one in operation.get("parameters", ())),
        body=fill(document, json["schema"]) if json else None,
    )


def fill(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    """The smallest value that fits a schema of ours."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return fill(document, document["components"]["schemas"][name])
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    if "enum" in schema:
        return schema["enum"][0]
    for word in ("oneOf", "anyOf", "allOf"):
        if word in schema:
            return fill(document, next(one for one in schema[word] if one.get("type") != "null"))
    match schema.get("type"):
        case "object":
            fields = schema.get("properties", {})
            return {name: fill(document, fields[name]) for name in schema.get("required", ())}
        case "array":
            return [fill(document, schema["items"])] * schema.get("minItems", 0)
        case "integer" | "number":
            return schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
        case "boolean":
            return False
    return "x" * schema.get("minLength", 1)
