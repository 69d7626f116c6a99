"""Events are written down in the transaction of what happened, and sent by the keeper afterwards:
so none is told of what was rolled back, and none is lost in a crash."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import queue
from core.db import after_commit, db_now
from core.ids import new_id
from core.jobs.models import Job
from core.webhooks.events import EventType, make_event, type_for
from core.webhooks.models import WebhookDelivery, WebhookEndpoint
from core.webhooks.status import DeliveryStatus


def job_ended(session: Session, job: Job) -> None:
    kind = type_for(job)
    if kind is not None:
        tell(session, job.project_id, kind, job.id)


def tell(session: Session, project_id: str, kind: EventType, object_id: str) -> None:
    """Write the event down for every endpoint of the project that wants to hear of its kind."""
    here = select(WebhookEndpoint).where(WebhookEndpoint.project_id == project_id)
    # Held until the end: one that is deleted meanwhile would undo what is told of.
    endpoints = session.scalars(here.with_for_update(read=True, key_share=True))
    listening = [endpoint.id for endpoint in endpoints if kind in endpoint.events]
    if not listening:
        return
    event = make_event(kind, object_id, session.scalar(select(db_now())))
    session.add_all(
        WebhookDelivery(
            id=new_id("whd"),
            project_id=project_id,
            endpoint_id=endpoint_id,
            event_id=event["id"],
            type=kind,
            payload=event,
            status=DeliveryStatus.PENDING,
        )
        for endpoint_id in listening
    )
    after_commit(session, lambda: queue.ring_keeper(queue.DELIVER))
