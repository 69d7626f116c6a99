"""`/v1/webhook_endpoints`: where a project wants to hear what has ended, and what it was sent."""

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field
from sqlalchemy import select

from api.deps import PageDep, ReadDep, Reader, SessionDep, Writer
from api.idempotency import OnceDep
from api.schemas.common import Body, ListBody, list_body
from api.schemas.webhooks import (
    DeletedEndpointShape,
    DeliveryShape,
    EndpointShape,
    EndpointWithSecretShape,
    EventTypesShape,
    TestResultShape,
    delivery_shape,
    endpoint_shape,
    endpoint_with_secret_shape,
)
from api.turns import run_contact
from core.db import db_now, get_database
from core.errors import WrongState
from core.pages import read_page
from core.settings import get_settings
from core.webhooks import deliveries, endpoints
from core.webhooks.events import EVENT_TYPES, EventType, make_event
from core.webhooks.models import WebhookDelivery, WebhookEndpoint
from core.webhooks.sending import Unsent, send
from core.webhooks.status import DeliveryStatus

router = APIRouter(tags=["webhooks"])

Name = Annotated[str, Field(min_length=1, max_length=100)]
Events = Annotated[list[EventType], Field(min_length=1, max_length=len(EVENT_TYPES))]
Url = Annotated[str, Field(max_length=2000)]


class EndpointRequest(Body):
    name: Name
    url: Url
    event_types: Events


class EndpointChange(Body):
    name: Name | None = None
    url: Url | None = None
    event_types: Events | None = None


class Rotation(Body):
    keep_old_secret_active_for_24_hours: Annotated[bool, Field(strict=True)] = False


class TestRequest(Body):
    event_type: EventType


@router.get("/webhook_event_types")
def list_event_types(principal: Reader) -> EventTypesShape:
    return EventTypesShape(data=list(EVENT_TYPES))


@router.post("/webhook_endpoints")
def create_endpoint(
    body: EndpointRequest, principal: Writer, once: OnceDep, session: SessionDep
) -> EndpointWithSecretShape:
    """The secret that signs what is sent there is in this answer alone."""
    once.begin(session)
    endpoint = endpoints.create(
        session, principal.project_id, name=body.name, url=body.url, events=body.event_types
    )
    shape = endpoint_with_secret_shape(endpoint)
    return once.answer(session, shape, kept=shape.model_copy(update={"signing_secret": None}))


@router.get("/webhook_endpoints")
def list_endpoints(session: ReadDep, principal: Reader, page: PageDep) -> ListBody[EndpointShape]:
    query = select(WebhookEndpoint).where(WebhookEndpoint.project_id == principal.project_id)
    return list_body(read_page(session, query, WebhookEndpoint.id, page), endpoint_shape)


@router.get("/webhook_endpoints/{webhook_endpoint_id}")
def get_endpoint(webhook_endpoint_id: str, session: ReadDep, principal: Reader) -> EndpointShape:
    return endpoint_shape(endpoints.get(session, principal.project_id, webhook_endpoint_id))


@router.post("/webhook_endpoints/{webhook_endpoint_id}")
def update_endpoint(
    webhook_endpoint_id: str, body: EndpointChange, session: SessionDep, principal: Writer
) -> EndpointShape:
    """Change what is given. What waits to be sent goes to the new URL."""
    endpoint = endpoints.get(session, principal.project_id, webhook_endpoint_id)
    return endpoint_shape(
        endpoints.update(session, endpoint, name=body.name, url=body.url, events=body.event_types)
    )


@router.delete("/webhook_endpoints/{webhook_endpoint_id}")
def delete_endpoint(
    webhook_endpoint_id: str, session: SessionDep, principal: Writer
) -> DeletedEndpointShape:
    """With all that was sent there or waits to be."""
    endpoint = endpoints.get(session, principal.project_id, webhook_endpoint_id)
    endpoints.forget(session, endpoint)
    return DeletedEndpointShape(id=endpoint.id)


@router.post("/webhook_endpoints/{webhook_endpoint_id}/rotate_secret")
def rotate_secret(
    webhook_endpoint_id: str,
    session: SessionDep,
    principal: Writer,
    body: Rotation | None = None,
) -> EndpointWithSecretShape:
    """A new secret; if wished the old one signs beside it for 24 hours."""
    endpoint = endpoints.get(session, principal.project_id, webhook_endpoint_id)
    keep = body is not None and body.keep_old_secret_active_for_24_hours
    return endpoint_with_secret_shape(endpoints.rotate_secret(session, endpoint, keep_old=keep))


@router.post("/webhook_endpoints/{webhook_endpoint_id}/test")
async def test_endpoint(
    webhook_endpoint_id: str, request: Request, body: TestRequest, principal: Writer
) -> TestResultShape:
    """Send a sample now, once; the answer's status code. 400 if there was no answer."""
    endpoint_id = webhook_endpoint_id
    return await run_contact(request, _test, principal.project_id, endpoint_id, body.event_type)


def _test(project_id: str, endpoint_id: str, kind: EventType) -> TestResultShape:
    # Two short transactions' worth of reading and then none: the other side may take its time.
    with get_database().reading() as session:
        endpoint = endpoints.get(session, project_id, endpoint_id)
        now = session.scalar(select(db_now()))
    sample = make_event(kind, "job_example", now)
    try:
        code = send(
            endpoint.url,
            sample,
            endpoints.signing_secrets(endpoint, now),
            allow_private=get_settings().webhook_allow_private,
        )
    except Unsent as error:
        raise WrongState(
            f"The endpoint could not be reached: {error}.", code="webhook_unreachable"
        ) from None
    return TestResultShape(webhook_endpoint_id=endpoint.id, event_type=kind, status_code=code)


@router.get("/webhook_endpoints/{webhook_endpoint_id}/deliveries")
def list_deliveries(
    webhook_endpoint_id: str,
    session: ReadDep,
    principal: Reader,
    page: PageDep,
    status: DeliveryStatus | None = None,
) -> ListBody[DeliveryShape]:
    """What was sent there or is to be; `status=dead` shows what was given up."""
    endpoint = endpoints.get(session, principal.project_id, webhook_endpoint_id)
    query = select(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint.id)
    if status is not None:
        query = query.where(WebhookDelivery.status == status)
    return list_body(read_page(session, query, WebhookDelivery.id, page), delivery_shape)


@router.post("/webhook_endpoints/{webhook_endpoint_id}/deliveries/{delivery_id}/redeliver")
def redeliver(
    webhook_endpoint_id: str, delivery_id: str, session: SessionDep, principal: Writer
) -> DeliveryShape:
    """Send a dead or delivered one again, under the same id."""
    endpoint = endpoints.get(session, principal.project_id, webhook_endpoint_id)
    delivery = deliveries.get(session, endpoint.id, delivery_id)
    return delivery_shape(deliveries.redeliver(session, delivery))
