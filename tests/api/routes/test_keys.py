"""Keys over HTTP: the secret is in one answer, and what a key may do is what was asked for."""

import time

from fastapi.testclient import TestClient
from sqlalchemy import select

from core.db import get_database
from core.idempotency.models import IdempotencyKey


def make(client: TestClient, **body: object) -> dict:
    answer = client.post("/v1/keys", json={"name": "ci 构建", "scopes": ["read"], **body})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_a_key_is_shown_once_and_works(client: TestClient) -> None:
    made = make(client, scopes=["read", "write", "read"])
    bearer = {"authorization": f"Bearer {made['secret']}"}
    assert client.get("/v1/jobs", headers=bearer).status_code == 200
    assert client.get("/v1/keys", headers=bearer).status_code == 403
    shown = client.get(f"/v1/keys/{made['id']}").json()
    assert "secret" not in shown
    assert shown["scopes"] == ["read", "write"]
    assert made["secret"].startswith(shown["prefix"])
    assert shown["last_used_at"] is not None
    assert [key["id"] for key in client.get("/v1/keys").json()["data"]][0] == made["id"]


def test_a_revoked_key_is_refused_at_once(client: TestClient) -> None:
    made = make(client)
    revoked = client.post(f"/v1/keys/{made['id']}/revoke").json()
    assert revoked["revoked_at"] is not None
    bearer = {"authorization": f"Bearer {made['secret']}"}
    assert client.get("/v1/jobs", headers=bearer).status_code == 401


def test_the_last_administrator_stays(client: TestClient) -> None:
    (own,) = client.get("/v1/keys").json()["data"]
    answer = client.post(f"/v1/keys/{own['id']}/revoke")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "last_admin_key"


def test_what_does_not_fit_is_named(client: TestClient) -> None:
    for body, param in (
        ({"name": "", "scopes": ["read"]}, "name"),
        ({"name": "k", "scopes": []}, "scopes"),
        ({"name": "k", "scopes": ["root"]}, "scopes.0"),
        ({"name": "k", "scopes": ["read"], "expires_at": int(time.time()) - 5}, "expires_at"),
        ({"name": "k", "scopes": ["read"], "owner": "me"}, "owner"),
    ):
        answer = client.post("/v1/keys", json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), body


def test_a_repeated_request_makes_no_second_key_and_tells_no_secret(client: TestClient) -> None:
    headers = {"Idempotency-Key": "key-1"}
    body = {"name": "k", "scopes": ["read"]}
    first = client.post("/v1/keys", json=body, headers=headers).json()
    again = client.post("/v1/keys", json=body, headers=headers)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first | {"secret": None}
    with get_database().reading() as session:
        assert first["secret"] not in session.scalars(select(IdempotencyKey.body)).one()
