"""The doorbell: tells a worker of a queue that a job waits. Knows no table.

A message carries the job's id and nothing else. Losing one, or getting it twice, changes nothing.
"""

import logging
import time
from functools import lru_cache
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from core.settings import get_settings

log = logging.getLogger(__name__)

SWEEP = "keeper.sweep"
RETAIN = "keeper.retain"
BATCHES = "keeper.batches"
DELIVER = "keeper.deliver"
KEEPER_QUEUE = "system"

# How long anything waits for a broker that is there and says nothing.
SILENT_SECONDS = 5
# Once it did, it is left alone for this long, so that not every request waits in turn.
AWAY_SECONDS = 5

REDIS = {
    # A worker that dies with a message in its hands loses it, and the sweep rings again. Redis has
    # no acknowledgements of its own: kombu's imitation writes into Redis on every delivery, which
    # ends a worker and the job that it runs when Redis is full, and it hands messages out twice
    # when a worker's clock is ahead of the others' or the task is longer than a timeout.
    "ack_emulation": False,
    # Without these a publish to a dead peer hangs for ever.
    "socket_timeout": SILENT_SECONDS,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    # A worker whose broker has gone silent takes a new connection after at most twice this long.
    "health_check_interval": 10,
}

RABBITMQ = {
    # A publish returns once the broker has the message.
    "confirm_publish": True,
    "read_timeout": SILENT_SECONDS,
    "write_timeout": SILENT_SECONDS,
}

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
    # Once more at once, on a new connection: the pool's may be to a broker that was restarted.
    # Not oftener: a submit must not wait for a broker that is gone, the sweep rings again.
    "task_publish_retry": True,
    "task_publish_retry_policy": {
        "max_retries": 1,
        "interval_start": 0,
        "interval_step": 0,
        "interval_max": 0,
    },
    "broker_connection_timeout": 5,
    "broker_connection_retry_on_startup": True,
    # While the broker says nothing, those who wait for a connection must not pile up either.
    "broker_pool_acquire_timeout": SILENT_SECONDS,
    "timezone": "UTC",
}


def on_redis(broker_url: str) -> bool:
    """Redis or Valkey, by TCP or socket; otherwise it is RabbitMQ."""
    return not broker_url.startswith(("amqp", "pyamqp"))


@lru_cache
def celery_app() -> Celery:
    """The process's Celery application, as a client; `workers.app` makes a worker of it."""
    url = get_settings().broker_url or "redis://localhost:6379/0"
    app = Celery("tuneyard", broker=url)
    app.conf.update(COMMON, broker_transport_options=REDIS if on_redis(url) else RABBITMQ)
    return app


class Away:
    """When the broker was last found to be away, by the monotonic clock."""

    until = 0.0


def ring(job_id: str, *, number: int, queue: str, job_type: str) -> bool:
    """Send the id, as a task named after the job's type, which is what Flower shows.

    False if the broker is not there; the sweep will ring again.
    """
    return _send(job_type, queue, args=[job_id], task_id=f"{job_id}-{number}")


def ring_keeper(task: str) -> None:
    """Ask for one of the keeper's tasks now; without the broker it is done at its usual time."""
    _send(task, KEEPER_QUEUE)


def _send(task: str, queue: str, **options: Any) -> bool:
    if time.monotonic() < Away.until:
        return False
    try:
        celery_app().send_task(task, queue=queue, confirm_timeout=SILENT_SECONDS, **options)
    except (OperationalError, OSError) as error:
        log.warning("could not ring for %s: %s", options.get("task_id", task), error)
        Away.until = time.monotonic() + AWAY_SECONDS
        return False
    return True


def ping() -> None:
    """Raise unless the broker answers."""
    with celery_app().connection_for_write(connect_timeout=3) as connection:
        connection.ensure_connection(max_retries=1, timeout=3)
