"""Endpoints of a project: where it wants to hear of what, and the secret that signs it."""

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from core.db import db_now
from core.errors import InvalidInput, NotFound
from core.ids import new_id
from core.settings import get_settings
from core.webhooks.addresses import read_url
from core.webhooks.events import EventType
from core.webhooks.models import WebhookDelivery, WebhookEndpoint
from core.webhooks.sending import new_secret

MOST = 20
"""Of one project: each event is written down once for each."""
DAY = 24 * 3600


def create(
    session: Session, project_id: str, *, name: str, url: str, events: list[EventType]
) -> WebhookEndpoint:
    count = select(func.count()).where(WebhookEndpoint.project_id == project_id)
    if session.scalar(count) >= MOST:
        raise InvalidInput(
            f"A project has at most {MOST} webhook endpoints; delete one, or let one hear more.",
            code="too_many_endpoints",
        )
    read_url(url, allow_private=get_settings().webhook_allow_private)
    now = session.scalar(select(db_now()))
    endpoint = WebhookEndpoint(
        id=new_id("whe"),
        project_id=project_id,
        name=name,
        url=url,
        events=list(dict.fromkeys(events)),
        secret=new_secret(),
        created_at=now,
        updated_at=now,
    )
    session.add(endpoint)
    session.flush()
    return endpoint


def get(
    session: Session, project_id: str, endpoint_id: str, *, hold: bool = False
) -> WebhookEndpoint:
    """`hold`: until the transaction ends nobody else changes it or writes an event down for it."""
    query = select(WebhookEndpoint).where(
        WebhookEndpoint.id == endpoint_id, WebhookEndpoint.project_id == project_id
    )
    endpoint = session.scalar(query.with_for_update() if hold else query)
    if endpoint is None:
        raise NotFound(
            f"There is no webhook endpoint '{endpoint_id}' in this project.",
            param="webhook_endpoint_id",
        )
    return endpoint


def update(
    session: Session,
    endpoint: WebhookEndpoint,
    *,
    name: str | None = None,
    url: str | None = None,
    events: list[EventType] | None = None,
) -> WebhookEndpoint:
    """Change what is given. What waits to be sent goes to the new URL."""
    if url is not None:
        read_url(url, allow_private=get_settings().webhook_allow_private)
    wished = {"name": name, "url": url, "events": events and list(dict.fromkeys(events))}
    changed = {
        field: value
        for field, value in wished.items()
        if value is not None and value != getattr(endpoint, field)
    }
    if changed:
        _write(session, endpoint, **changed)
    return endpoint


def rotate_secret(
    session: Session, endpoint: WebhookEndpoint, *, keep_old: bool
) -> WebhookEndpoint:
    """A new secret; with `keep_old` the one before signs beside it for a day."""
    now = session.scalar(select(db_now()))
    _write(
        session,
        endpoint,
        secret=new_secret(),
        previous_secret=endpoint.secret if keep_old else None,
        previous_until=now + DAY if keep_old else None,
    )
    return endpoint


def forget(session: Session, endpoint: WebhookEndpoint) -> None:
    """With all that was sent to it or waits to be. Held first: an event that is written down for it
    between the two deletions would make the second one fail."""
    get(session, endpoint.project_id, endpoint.id, hold=True)
    session.execute(delete(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint.id))
    session.delete(endpoint)
    session.flush()


def signing_secrets(endpoint: WebhookEndpoint, now: float) -> list[str]:
    """What signs at that moment: one that a client has not changed yet must do too."""
    if endpoint.previous_secret is None or (endpoint.previous_until or 0) <= now:
        return [endpoint.secret]
    return [endpoint.secret, endpoint.previous_secret]


def _write(session: Session, endpoint: WebhookEndpoint, **values: object) -> None:
    for field, value in values.items():
        setattr(endpoint, field, value)
    endpoint.updated_at = session.scalar(select(db_now()))
    session.flush()
