"""The OpenAPI document is complete, and what it shows fits what it says."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from api.app import create_app
from api.document import EXAMPLES
from api.errors import STATUS
from api.examples import REQUESTS
from core.jobs.types import TYPES

DOCUMENT = create_app().openapi()
OPERATIONS = [
    (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
    if path.startswith("/v1/")
]


def faults(schema: dict[str, Any], value: Any) -> list[str]:
    """What of the value does not fit the schema."""
    whole = schema | {"components": DOCUMENT["components"]}
    return [error.message for error in Draft202012Validator(whole).iter_errors(value)]


def test_it_is_openapi_31() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")


def test_every_operation_tells_its_scope_its_errors_and_its_headers() -> None:
    for method, path, operation in OPERATIONS:
        name = f"{method} {path}"
        assert operation["security"][0]["key"][0] in ("read", "write", "admin"), name
        assert operation["responses"].keys() >= EXAMPLES.keys(), name
        assert "422" not in operation["responses"], "a wrong field is a 400 here"
        for status, response in operation["responses"].items():
            assert "x-request-id" in response["headers"], f"{name} {status}"
            if status in EXAMPLES:
                content = response["content"]["application/json"]
                assert faults(content["schema"], content["example"]) == []


def test_every_status_that_an_error_of_ours_has_is_told() -> None:
    assert {str(status) for status, _ in STATUS.values()} <= EXAMPLES.keys()


def test_every_body_that_is_posted_is_described() -> None:
    for method, path, operation in OPERATIONS:
        if "requestBody" in operation:
            for kind, content in operation["requestBody"]["content"].items():
                assert content["schema"], f"{method} {path}: {kind}"


@pytest.mark.parametrize(("operation", "bodies"), REQUESTS.items())
def test_every_shown_request_fits_its_schema(operation: tuple[str, str], bodies: dict) -> None:
    method, path = operation
    content = DOCUMENT["paths"][path][method]["requestBody"]["content"]["application/json"]
    for name, body in bodies.items():
        assert faults(content["schema"], body) == [], name
        assert content["examples"][name]["value"] == body


def test_a_job_is_told_by_its_type() -> None:
    schema = DOCUMENT["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]
    union = schema["schema"]
    assert union["discriminator"]["propertyName"] == "type"
    assert set(union["discriminator"]["mapping"]) == {kind.name for kind in TYPES}
    assert len(union["oneOf"]) == len(TYPES)


def test_operations_have_ids_of_their_own() -> None:
    ids = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(ids)) == len(ids)
