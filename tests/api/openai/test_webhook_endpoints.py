"""Webhook endpoints over HTTP, in OpenAI's shape; what was sent, and sending it again."""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from core.accounts.models import Project
from core.db import get_database
from core.settings import get_settings
from core.webhooks import outbox
from core.webhooks.models import WebhookDelivery
from tests.core.webhooks.receiver import answering, receiver

PATH = "/v1/webhook_endpoints"
HOOK = {"name": "ours 我们的", "url": "https://example.com/hook", "event_types": ["batch.failed"]}


@pytest.fixture
def made(client: TestClient) -> dict:
    answer = client.post(PATH, json=HOOK)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_an_endpoint_is_kept_and_its_secret_shown_once(client: TestClient, made: dict) -> None:
    secret = made.pop("signing_secret")
    assert secret.startswith("whsec_")
    assert made["signing_secret_hint"].endswith(secret[-4:])
    assert client.get(f"{PATH}/{made['id']}").json() == made
    assert client.get(PATH).json()["data"] == [made]
    assert made["name"] == HOOK["name"]


def test_what_is_changed_changes_and_nothing_else(client: TestClient, made: dict) -> None:
    path = f"{PATH}/{made['id']}"
    assert client.post(path, json={}).json()["updated_at"] == made["updated_at"]
    changed = client.post(path, json={"event_types": ["evaluation.failed", "batch.failed"]}).json()
    assert changed["event_types"] == ["evaluation.failed", "batch.failed"]
    assert changed["url"] == HOOK["url"]


def test_a_rotated_secret_is_another_and_shown_once(client: TestClient, made: dict) -> None:
    path = f"{PATH}/{made['id']}/rotate_secret"
    first = client.post(path).json()["signing_secret"]
    kept = {"keep_old_secret_active_for_24_hours": True}
    second = client.post(path, json=kept).json()["signing_secret"]
    assert len({made["signing_secret"], first, second}) == 3
    assert "signing_secret" not in client.get(f"{PATH}/{made['id']}").json()


def test_a_deleted_endpoint_is_gone(client: TestClient, made: dict) -> None:
    gone = client.delete(f"{PATH}/{made['id']}").json()
    expected = {"id": made["id"], "object": "webhook_endpoint.deleted", "deleted": True}
    assert gone == expected
    assert client.get(f"{PATH}/{made['id']}").status_code == 404


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"url": "http://example.com/"}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"url": "https://169.254.169.254/latest/meta-data"}, "url"),
        ({"url": "https://[::ffff:10.0.0.1]/"}, "url"),
        ({"url": "https://key:secret@example.com/"}, "url"),
        ({"event_types": []}, "event_types"),
        ({"event_types": ["response.completed"]}, "event_types.0"),
        ({"name": ""}, "name"),
        ({"retries": 3}, "retries"),
    ],
)
@pytest.mark.fault(25)
def test_what_does_not_fit_is_refused_by_name(
    client: TestClient, made: dict, change: dict, param: str
) -> None:
    for path, body in ((PATH, HOOK | change), (f"{PATH}/{made['id']}", change)):
        answer = client.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


def test_a_project_has_a_bounded_number_of_them(client: TestClient, made: dict) -> None:
    codes = [client.post(PATH, json=HOOK).status_code for _ in range(20)]
    assert codes == [200] * 19 + [400]


def test_the_kinds_of_events_are_listed(client: TestClient) -> None:
    assert "fine_tuning.job.succeeded" in client.get("/v1/webhook_event_types").json()["data"]


def test_a_sample_is_sent_at_once(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get_settings(), "webhook_allow_private", True)
    with receiver(answering(418)) as hook:
        made = client.post(PATH, json=HOOK | {"url": hook.url}).json()
        path = f"{PATH}/{made['id']}/test"
        result = client.post(path, json={"event_type": "batch.expired"}).json()
    assert (result["status_code"], result["success"]) == (418, True)
    assert result["event_type"] == "batch.expired"
    unreachable = client.post(path, json={"event_type": "batch.expired"})
    assert unreachable.status_code == 400
    assert unreachable.json()["error"]["code"] == "webhook_unreachable"


def test_what_was_given_up_is_shown_and_sent_again(client: TestClient, made: dict) -> None:
    with get_database().transaction() as session:
        project_id = session.scalars(select(Project.id).where(Project.name == "ours")).one()
        for _ in range(3):
            outbox.tell(session, project_id, "batch.failed", "job_1")
        last = session.scalars(select(WebhookDelivery.id).order_by(WebhookDelivery.id)).all()[-1]
        gave_up = {"status": "dead", "attempts": 10, "last_error": "no answer within 10 s"}
        session.execute(update(WebhookDelivery).where(WebhookDelivery.id == last).values(**gave_up))
    path = f"{PATH}/{made['id']}/deliveries"
    assert len(client.get(path).json()["data"]) == 3
    (dead,) = client.get(path, params={"status": "dead"}).json()["data"]
    assert (dead["id"], dead["last_error"]) == (last, "no answer within 10 s")
    assert dead["event"]["data"] == {"id": "job_1"}
    again = client.post(f"{path}/{last}/redeliver").json()
    assert (again["status"], again["attempts"]) == ("pending", 0)
    refused = client.post(f"{path}/{last}/redeliver")
    assert refused.json()["error"]["code"] == "delivery_pending"
    assert client.get(path, params={"status": "lost"}).status_code == 400
