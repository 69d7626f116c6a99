"""What becomes of what is to be sent: taken by one sender at a time, tried again, given up.

A sender that dies leaves its delivery to be taken again when the time for a try is over; the event
then comes twice, under one `webhook-id`.
"""

import random
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from core import queue
from core.db import after_commit, db_now
from core.errors import NotFound, WrongState
from core.webhooks.endpoints import signing_secrets
from core.webhooks.models import WebhookDelivery, WebhookEndpoint
from core.webhooks.sending import SECONDS
from core.webhooks.status import DeliveryStatus

ATTEMPTS = 10
FIRST_SECONDS = 10.0
FACTOR = 4
LONGEST_SECONDS = 6 * 3600.0
"""10 s, 40 s, 160 s, … 6 h: ten tries take some 22 hours."""
TRY_SECONDS = 4 * SECONDS
KEEP_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True)
class Try:
    """One delivery, taken to be sent once."""

    delivery_id: str
    endpoint_id: str
    url: str
    secrets: list[str]
    event: dict[str, Any]
    number: int


def due_endpoints(session: Session, *, but: set[str], most: int) -> list[str]:
    """Endpoints to which something is to be sent now, who has waited longest first."""
    rows = (
        select(WebhookDelivery.endpoint_id)
        .where(*_due(), WebhookDelivery.endpoint_id.not_in(but))
        .group_by(WebhookDelivery.endpoint_id)
        .order_by(func.min(WebhookDelivery.due_at))
        .limit(most)
    )
    return list(session.scalars(rows))


def take(session: Session, endpoint_id: str) -> Try | None:
    """The endpoint's oldest due delivery, which nobody else takes for as long as a try lasts."""
    oldest = (
        select(WebhookDelivery.id)
        .where(WebhookDelivery.endpoint_id == endpoint_id, *_due())
        .order_by(WebhookDelivery.due_at, WebhookDelivery.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    delivery_id = session.scalar(oldest)
    if delivery_id is None:
        return None
    delivery = session.scalars(
        update(WebhookDelivery)
        .where(WebhookDelivery.id == delivery_id)
        .values(attempts=WebhookDelivery.attempts + 1, due_at=db_now() + TRY_SECONDS)
        .returning(WebhookDelivery)
    ).one()
    endpoint = session.get_one(WebhookEndpoint, endpoint_id)
    return Try(
        delivery.id,
        endpoint_id,
        endpoint.url,
        signing_secrets(endpoint, session.scalar(select(db_now()))),
        delivery.payload,
        delivery.attempts,
    )


def delivered(session: Session, tried: Try, code: int) -> None:
    _record(
        session,
        tried,
        status=DeliveryStatus.DELIVERED,
        delivered_at=db_now(),
        last_code=code,
        last_error=None,
    )


def failed(session: Session, tried: Try, reason: str, code: int | None) -> None:
    """Wait for the next try, or give it up after the last."""
    last = tried.number >= ATTEMPTS
    _record(
        session,
        tried,
        status=DeliveryStatus.DEAD if last else DeliveryStatus.PENDING,
        due_at=db_now() + wait_seconds(tried.number),
        last_code=code,
        last_error=reason,
    )


def wait_seconds(number: int) -> float:
    """After that many tries. By chance, so that what failed together does not come back so."""
    bound = min(LONGEST_SECONDS, FIRST_SECONDS * FACTOR ** (number - 1))
    return random.uniform(bound / 2, bound)


def get(session: Session, endpoint_id: str, delivery_id: str) -> WebhookDelivery:
    delivery = session.scalar(
        select(WebhookDelivery).where(
            WebhookDelivery.id == delivery_id, WebhookDelivery.endpoint_id == endpoint_id
        )
    )
    if delivery is None:
        raise NotFound(
            f"There is no delivery '{delivery_id}' to this endpoint.", param="delivery_id"
        )
    return delivery


def redeliver(session: Session, delivery: WebhookDelivery) -> WebhookDelivery:
    """Send it again from the first try on, whether it was given up or taken."""
    if delivery.status == DeliveryStatus.PENDING:
        raise WrongState(
            "The delivery is pending and will be sent; only a delivered or dead one is sent again.",
            code="delivery_pending",
        )
    delivery.status = DeliveryStatus.PENDING
    delivery.attempts = 0
    delivery.due_at = session.scalar(select(db_now()))
    delivery.delivered_at = None
    session.flush()
    after_commit(session, lambda: queue.ring_keeper(queue.DELIVER))
    return delivery


def count_by_status(session: Session) -> dict[str, int]:
    query = select(WebhookDelivery.status, func.count()).group_by(WebhookDelivery.status)
    return {status: count for status, count in session.execute(query)}


def drop_old(session: Session) -> int:
    """Forget what was taken or given up long ago; returns how many."""
    old = delete(WebhookDelivery).where(
        WebhookDelivery.status != DeliveryStatus.PENDING,
        WebhookDelivery.created_at < db_now() - KEEP_SECONDS,
    )
    return session.execute(old).rowcount


def _due():
    return WebhookDelivery.status == DeliveryStatus.PENDING, WebhookDelivery.due_at <= db_now()


def _record(session: Session, tried: Try, **values: Any) -> None:
    # Whoever took it since, because this try lasted too long, has counted on.
    mine = (WebhookDelivery.id == tried.delivery_id) & (WebhookDelivery.attempts == tried.number)
    session.execute(
        update(WebhookDelivery)
        .where(mine, WebhookDelivery.status == DeliveryStatus.PENDING)
        .values(**values)
    )
