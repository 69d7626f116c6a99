"""The Celery application of the workers: settings with their reasons, and what its signals do.

celery -A workers.app worker -Q gpu -n gpu0@host -c 1     a worker of one device
celery -A workers.app worker -Q system -n keeper@host     the keeper
celery -A workers.app beat                                the keeper's clock
"""

import logging
import shutil
import threading
from dataclasses import replace
from typing import Any

from celery.signals import (
    celeryd_after_setup,
    worker_process_init,
    worker_ready,
    worker_shutting_down,
)
from sqlalchemy.exc import SQLAlchemyError

import core.tables  # noqa: F401 - a foreign key is followed to a table that is known
from core.basemodels.service import record_base
from core.basemodels.store import ModelStore
from core.db import forget_databases, get_database
from core.fleet import service as fleet
from core.jobs.dispatch import dispatch
from core.queue import SWEEP, celery_app
from core.settings import get_settings
from workers.drain import DRAIN
from workers.node import describe_node
from workers.spare import SPARE

log = logging.getLogger(__name__)

settings = get_settings()
on_redis = not settings.broker_url.startswith(("amqp", "pyamqp"))

app = celery_app()
app.conf.update(
    include=["workers.tasks"],
    # One job at a time: what is prefetched would wait behind a training while others are free.
    worker_prefetch_multiplier=1,
    # On Redis prefetch 1 still holds a message behind the running one; this does not (Redis only).
    worker_disable_prefetch=on_redis,
    # Redis: ack at once, or the message comes again after the visibility timeout; the lease is
    # what brings a lost job back. RabbitMQ: late, as its prefetch can't be switched off.
    task_acks_late=not on_redis,
    # Both would start a job again behind the lease's back.
    task_reject_on_worker_lost=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    # Flower lives on these.
    worker_send_task_events=True,
    # A worker whose broker goes away tries for ever.
    broker_connection_max_retries=None,
    worker_hijack_root_logger=True,
    worker_redirect_stdouts=False,
    worker_log_format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    beat_schedule={
        "sweep": {
            "task": SWEEP,
            "schedule": settings.sweep_seconds,
            # Sweeps that piled up while no keeper ran are not needed. Two hosts' clocks judge it,
            # so there is room between them.
            "options": {"queue": "system", "expires": 60 + settings.sweep_seconds},
        }
    },
)

# What this worker process is; set once its queues are known, before the pool forks.
THIS: dict[str, Any] = {}


@celeryd_after_setup.connect
def learn_who_i_am(sender: str, instance, **_: object) -> None:
    queues = list(instance.app.amqp.queues.consume_from)
    THIS.update(worker_id=sender, queue=queues[0])
    node = describe_node(sender, queues[0], settings)
    THIS.update(node=node, device=node.device)
    # What a killed predecessor of the same name left behind.
    shutil.rmtree(settings.work_dir / sender, ignore_errors=True)


@worker_process_init.connect
def begin_child(**_: object) -> None:
    forget_databases()  # connections must not be shared across a fork
    if settings.spare_runner and THIS.get("queue") != "system":
        SPARE.prepare(THIS["queue"])


@worker_ready.connect
def join_the_fleet(**_: object) -> None:
    # A thread of the main process: a pool that is busy for hours can't delay it.
    threading.Thread(target=keep_beating, name="fleet-beat", daemon=True).start()


def keep_beating() -> None:
    """Tell the fleet that this worker lives and which models it has, until it is told to go."""
    while True:
        try:
            beat()
        except Exception as error:  # a worker that falls silent gets no job ever again
            log.warning("could not tell the fleet that this worker lives: %s", error)
        # An Event's wait, not a sleep: the drain ends it at once.
        if DRAIN.wait(settings.heartbeat_seconds):
            return


def beat() -> None:
    manifests = ModelStore(settings.model_dir).manifests()
    node = replace(THIS["node"], models=[manifest["name"] for manifest in manifests])
    with get_database().transaction() as session:
        for manifest in manifests:
            record_base(session, manifest)
        fleet.register(session, node)
    dispatch()


@worker_shutting_down.connect
def drain(**_: object) -> None:
    """Warm shutdown: the running job checkpoints and goes back to the queue, none is rung here."""
    DRAIN.set()
    threading.Thread(target=_retire, daemon=True).start()  # a signal handler must not wait


def _retire() -> None:
    try:
        with get_database().transaction() as session:
            fleet.retire(session, THIS["worker_id"])
    except SQLAlchemyError as error:
        log.warning("could not tell the fleet that this worker goes: %s", error)
