"""Celery alone: a task that does nothing but say when it ran, through the broker."""

import os
import time

import redis
from celery import Celery

DONE = "bare:done"
broker = os.environ["TUNEYARD_BROKER_URL"]
app = Celery("bare", broker=broker)
# As the product's, where it matters for speed: no results, no prefetch, JSON.
app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    task_default_queue="bare",
    worker_hijack_root_logger=False,
)


def store() -> redis.Redis:
    """The broker itself, as a place to leave a moment at."""
    path = broker.removeprefix("redis+socket://").partition("?")[0]
    return redis.Redis(unix_socket_path=path)


STORE = store()


@app.task(name="bare.nothing")
def nothing() -> None:
    STORE.rpush(DONE, time.time())
