"""What holds for every route: keys, scopes, tenants, the shape of errors, request ids."""

import inspect

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from api.app import RESOURCES
from tests.api.conftest import make_key
from tests.api.document import LESSER, v1_routes

ASKED_BY_POST = {
    "POST /v1/databases/{database_id}/query",
    "POST /v1/chat/completions",
    "POST /v1/estimates",
    "POST /v1/sql",
}
"""Questions whose answer changes nothing; what makes a job or a file is not among them."""


def test_every_route_but_health_wants_a_key(anonymous: TestClient) -> None:
    routes = v1_routes(anonymous.app)
    assert len(routes) > 60
    for route in routes:
        answer = anonymous.request(route.method, route.unknown())
        assert answer.status_code == 401, str(route)
        assert answer.json()["error"]["code"] == "invalid_api_key"


def test_a_wrong_key_is_refused(anonymous: TestClient) -> None:
    answer = anonymous.get("/v1/jobs", headers={"authorization": "Bearer ty-nonsense"})
    assert answer.status_code == 401


def test_a_reading_key_reads_and_writes_nothing(client: TestClient) -> None:
    headers = {"authorization": f"Bearer {make_key('ours', 'read')}"}
    assert client.get("/v1/jobs", headers=headers).status_code == 200
    body = {"type": "merge", "params": {"adapter": "a:1"}}
    answer = client.post("/v1/jobs", json=body, headers=headers)
    assert answer.status_code == 403
    assert "'write'" in answer.json()["error"]["message"]


def test_a_key_that_lacks_a_routes_scope_is_refused_on_every_route(client: TestClient) -> None:
    keys = {scopes: make_key("ours", *scopes) for scopes in LESSER.values()}
    for route in v1_routes(client.app):
        headers = {"authorization": f"Bearer {keys[LESSER[route.scope]]}"}
        answer = client.request(route.method, route.unknown(), json=route.body, headers=headers)
        assert answer.status_code == 403, f"{route}: {answer.text}"
        error = answer.json()["error"]
        assert error["code"] == "insufficient_scope"
        assert f"'{route.scope}'" in error["message"]


def test_what_changes_anything_wants_more_than_reading(client: TestClient) -> None:
    reading = {str(route) for route in v1_routes(client.app) if route.scope == "read"}
    assert {name for name in reading if not name.startswith("GET")} == ASKED_BY_POST


def test_an_unknown_id_is_a_404_on_every_route_with_one(client: TestClient) -> None:
    for route in v1_routes(client.app):
        if "{" not in route.path:
            continue
        answer = client.request(route.method, route.unknown(), json=route.body)
        assert answer.status_code == 404, f"{route}: {answer.text}"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nowhere", 404), ("PUT", "/v1/jobs", 405), ("GET", "/v1/jobs?limit=0", 400)],
)
def test_every_error_has_the_four_keys(
    client: TestClient, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_every_answer_bears_a_request_id(client: TestClient) -> None:
    seen = {client.get(path).headers["x-request-id"] for path in ("/v1/jobs", "/nowhere")}
    assert len(seen) == 2


def test_endpoints_that_reach_the_database_are_sync() -> None:
    # An async endpoint would hold the event loop while the database works.
    routes = [route for resource in RESOURCES for route in resource.router.routes]
    asynchronous = {
        route.endpoint.__name__
        for route in routes
        if isinstance(route, APIRoute) and inspect.iscoroutinefunction(route.endpoint)
    }
    assert len(routes) > 20
    forms = {"upload_file", "add_part", "register_database", "create_dataset"}
    # They hold no thread while they wait, for a server or for their turn to run a statement.
    answers = {"create_completion", "answer_with_sql", "query_database"}
    # Nor while they wait for their turn to speak to a host that the caller has named.
    contacts = {"refresh_database", "test_endpoint"}
    assert asynchronous == forms | answers | contacts


def test_health_needs_no_key_and_tells_which_part_is_away(anonymous: TestClient) -> None:
    assert anonymous.get("/health/live").json() == {"status": "alive"}
    answer = anonymous.get("/health/ready")
    assert answer.status_code == 503
    body = answer.json()
    assert (body["database"], body["broker"], body["storage"]) == ("ok", "away", "ok")
