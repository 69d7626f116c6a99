"""The doorbell: tells a worker of a queue that a job waits. Knows no table.

A message carries the job's id and nothing else. Losing one, or getting it twice, changes nothing.
"""

import logging
from functools import lru_cache

from celery import Celery
from kombu.exceptions import OperationalError

from core.settings import get_settings

log = logging.getLogger(__name__)

SWEEP = "keeper.sweep"

COMMON = {
    # Only JSON: a broker that takes pickle runs whatever is put into it.
    "task_serializer": "json",
    "accept_content": ["json"],
    # No result backend: the database is the record, results there would expire after a day.
    "task_ignore_result": True,
    # The order is the database's; a queue per device class is all that the broker knows.
    "task_default_queue": "cpu",
    "task_create_missing_queues": True,
    # The publisher's own event: Flower has a task's queue from nowhere else.
    "task_send_sent_event": True,
    # A submit must not wait for a broker that is gone: the sweep rings again.
    "task_publish_retry": False,
    "broker_connection_timeout": 5,
    "broker_connection_retry_on_startup": True,
    # Messages of RabbitMQ are confirmed before a publish returns; Redis ignores this.
    "broker_transport_options": {
        "confirm_publish": True,
        # Redis hands a message out again after this long without an ack. Acks are early here, so
        # it only ever concerns a worker that died within the moment of taking one.
        "visibility_timeout": 3600,
        # Without these a publish to a dead peer hangs for ever.
        "socket_timeout": 30,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 25,
    },
    "timezone": "UTC",
}


@lru_cache
def celery_app() -> Celery:
    """The process's Celery application, as a client; `workers.app` makes a worker of it."""
    app = Celery("tuneyard", broker=get_settings().broker_url or "redis://localhost:6379/0")
    app.conf.update(COMMON)
    return app


def ring(job_id: str, *, number: int, queue: str, job_type: str) -> bool:
    """Send the id, as a task named after the job's type, which is what Flower shows.

    False if the broker is not there; the sweep will ring again.
    """
    try:
        celery_app().send_task(job_type, args=[job_id], task_id=f"{job_id}-{number}", queue=queue)
    except (OperationalError, OSError) as error:
        log.warning("could not ring for %s: %s", job_id, error)
        return False
    return True


def ping() -> None:
    """Raise unless the broker answers."""
    with celery_app().connection_for_write(connect_timeout=3) as connection:
        connection.ensure_connection(max_retries=1, timeout=3)
