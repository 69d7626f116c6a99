"""OpenAI's webhook objects, and ours of what was sent."""

from typing import Any

from api.schemas.common import Shape
from core.webhooks.models import WebhookDelivery, WebhookEndpoint

HINT_CHARACTERS = 4


class EndpointShape(Shape):
    id: str
    object: str = "webhook_endpoint"
    name: str
    url: str
    event_types: list[str]
    signing_secret_hint: str
    created_at: int
    updated_at: int


class EndpointWithSecretShape(EndpointShape):
    """`signing_secret` is shown when it is made, and never again."""

    signing_secret: str | None
    """Null where the answer is repeated for an Idempotency-Key."""


class DeletedEndpointShape(Shape):
    id: str
    object: str = "webhook_endpoint.deleted"
    deleted: bool = True


class TestResultShape(Shape):
    object: str = "webhook_endpoint.test"
    webhook_endpoint_id: str
    event_type: str
    status_code: int
    success: bool = True


class EventTypesShape(Shape):
    object: str = "list"
    data: list[str]


class DeliveryShape(Shape):
    """One event for one endpoint. `next_attempt_at`: of a pending one, not before this moment."""

    id: str
    object: str = "webhook_delivery"
    event_type: str
    status: str
    attempts: int
    last_status_code: int | None
    last_error: str | None
    event: dict[str, Any]
    created_at: int
    next_attempt_at: int | None
    delivered_at: int | None


def endpoint_shape(row: WebhookEndpoint) -> EndpointShape:
    return EndpointShape(**_endpoint_fields(row))


def endpoint_with_secret_shape(row: WebhookEndpoint) -> EndpointWithSecretShape:
    return EndpointWithSecretShape(**_endpoint_fields(row), signing_secret=row.secret)


def delivery_shape(row: WebhookDelivery) -> DeliveryShape:
    return DeliveryShape(
        id=row.id,
        event_type=row.type,
        status=row.status,
        attempts=row.attempts,
        last_status_code=row.last_code,
        last_error=row.last_error,
        event=row.payload,
        created_at=int(row.created_at),
        next_attempt_at=int(row.due_at) if row.status == "pending" else None,
        delivered_at=None if row.delivered_at is None else int(row.delivered_at),
    )


def _endpoint_fields(row: WebhookEndpoint) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "url": row.url,
        "event_types": row.events,
        "signing_secret_hint": f"whsec_…{row.secret[-HINT_CHARACTERS:]}",
        "created_at": int(row.created_at),
        "updated_at": int(row.updated_at),
    }
