"""The Celery application of the workers: settings with their reasons, and what its signals do.

celery -A workers.app worker -Q gpu -n gpu0@host -c 1     a worker of one device
celery -A workers.app worker -Q system -n keeper@host     the keeper
celery -A workers.app beat                                the keeper's clock
"""

import heapq
import logging
import shutil
import threading
import time
from dataclasses import replace
from typing import Any

from celery.beat import PersistentScheduler, event_t
from celery.schedules import schedstate
from celery.signals import (
    celeryd_after_setup,
    celeryd_init,
    setup_logging,
    worker_process_init,
    worker_ready,
    worker_shutting_down,
)
from sqlalchemy.exc import SQLAlchemyError

import core.tables  # noqa: F401 - a foreign key is followed to a table that is known
from core import logs
from core.basemodels.service import record_base
from core.basemodels.store import ModelStore
from core.db import forget_databases, get_database
from core.fleet import service as fleet
from core.jobs.dispatch import dispatch
from core.queue import BATCHES, DELIVER, KEEPER_QUEUE, RETAIN, SWEEP, celery_app, on_redis
from core.retention import tidy_machine
from core.settings import get_settings
from core.storage import forget_storages
from workers.drain import DRAIN
from workers.node import describe_node
from workers.spare import SPARE

log = logging.getLogger(__name__)

settings = get_settings()
redis = on_redis(settings.broker_url)

app = celery_app()
app.conf.update(
    include=["workers.tasks"],
    # One job at a time: what is prefetched would wait behind a training while others are free.
    worker_prefetch_multiplier=1,
    # On Redis prefetch 1 still holds a message behind the running one; this does not (Redis only).
    worker_disable_prefetch=redis,
    # Redis: at once, as it keeps no unacked messages; the lease is what brings a lost job back.
    # RabbitMQ: late, as its prefetch can't be switched off: an unacked message is what keeps it
    # from handing a busy worker the next one.
    task_acks_late=not redis,
    # Both would start a job again behind the lease's back.
    task_reject_on_worker_lost=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    # Flower lives on these.
    worker_send_task_events=True,
    # A worker whose broker goes away tries for ever.
    broker_connection_max_retries=None,
    # It also connects again when the broker refuses something (RabbitMQ: a message unacked for
    # longer than `consumer_timeout`; Redis: full), instead of ending and taking its job with it.
    broker_channel_error_retry=True,
    # RabbitMQ: a peer that is silent for twice this long is gone; the default is 120.
    broker_heartbeat=20,
    worker_redirect_stdouts=False,
    beat_scheduler="workers.app:SteadyScheduler",
    # There are no results, hence nothing to clean up at four in the morning.
    result_expires=None,
    beat_schedule={
        "sweep": {
            "task": SWEEP,
            "schedule": settings.sweep_seconds,
            # No `expires`: beat's clock would set it and the keeper's judge it, and where they
            # differ no sweep would ever run. What piled up is skipped (`workers.tasks`).
            "options": {"queue": KEEPER_QUEUE},
        },
        "batches": {
            "task": BATCHES,
            "schedule": settings.sweep_seconds,
            "options": {"queue": KEEPER_QUEUE},
        },
        "deliver": {
            "task": DELIVER,
            "schedule": settings.webhook_seconds,
            "options": {"queue": KEEPER_QUEUE},
        },
        "retain": {
            "task": RETAIN,
            "schedule": settings.retain_seconds,
            "options": {"queue": KEEPER_QUEUE},
        },
    },
)


class SteadyScheduler(PersistentScheduler):
    """Intervals by the monotonic clock, each due when beat starts: a clock that was ahead and is
    set back must not stop the sweep until it has caught up."""

    def populate_heap(self, **_: Any) -> None:
        now = time.monotonic()
        self._heap = [event_t(now, 5, entry) for entry in self.schedule.values()]
        heapq.heapify(self._heap)

    def is_due(self, entry: Any) -> schedstate:
        return schedstate(is_due=True, next=entry.schedule.seconds)  # its time in the heap has come

    def _when(self, entry: Any, next_time_to_run: float, **_: Any) -> float:
        return time.monotonic() + (self.adjust(next_time_to_run) or 0)


# What this worker process is; set once its queues are known, before the pool forks.
THIS: dict[str, Any] = {}
# Beside DRAIN, whose wait is by the wall clock: one that is set back would silence the heartbeat.
GOING = threading.Event()


@celeryd_init.connect
def catch_warnings(**_: object) -> None:
    logs.install()  # Celery warns of this and that before it comes to the next


@setup_logging.connect
def configure_logs(loglevel: int, **_: object) -> None:
    logs.install(loglevel)  # and with a receiver of this signal Celery installs nothing


@celeryd_after_setup.connect
def learn_who_i_am(sender: str, instance, **_: object) -> None:
    queues = list(instance.app.amqp.queues.consume_from)
    THIS.update(worker_id=sender, queue=queues[0])
    node = describe_node(sender, queues[0], settings)
    THIS.update(node=node, device=node.device, alone=instance.concurrency == 1)
    _forget_work()


def _forget_work() -> None:
    """What killed predecessors of the same name left behind."""
    shutil.rmtree(settings.work_dir / THIS["worker_id"], ignore_errors=True)


@worker_process_init.connect
def begin_child(**_: object) -> None:
    # Neither connections nor the thread of an object store's client live on in a fork.
    forget_databases()
    forget_storages()
    if THIS.get("alone"):  # no sibling is at work there: the one before was killed
        _forget_work()
    if settings.spare_runner and THIS.get("queue") != KEEPER_QUEUE:
        SPARE.prepare(THIS["queue"], THIS["device"])


@worker_ready.connect
def join_the_fleet(**_: object) -> None:
    # A thread of the main process: a pool that is busy for hours can't delay it.
    threading.Thread(target=keep_beating, name="fleet-beat", daemon=True).start()
    threading.Thread(target=tidy_machine, name="tidy", daemon=True).start()


def keep_beating() -> None:
    """Tell the fleet that this worker lives and which models it has, until it is told to go."""
    fresh = True
    while True:
        try:
            beat(fresh=fresh)
            fresh = False
        except Exception as error:  # a worker that falls silent gets no job ever again
            log.warning("could not tell the fleet that this worker lives: %s", error)
        # An Event's wait, not a sleep: the drain ends it at once.
        if GOING.wait(settings.heartbeat_seconds):
            return


def beat(*, fresh: bool) -> None:
    manifests = ModelStore(settings.model_dir).manifests()
    node = replace(THIS["node"], models=[manifest["name"] for manifest in manifests])
    with get_database().transaction() as session:
        for manifest in manifests:
            record_base(session, manifest)
        fleet.register(session, node, fresh=fresh)
    dispatch()


@worker_shutting_down.connect
def drain(**_: object) -> None:
    """Warm shutdown: the running job checkpoints and goes back to the queue, none is rung here."""
    DRAIN.set()
    GOING.set()
    threading.Thread(target=_retire, daemon=True).start()  # a signal handler must not wait


def _retire() -> None:
    try:
        with get_database().transaction() as session:
            fleet.retire(session, THIS["worker_id"])
    except SQLAlchemyError as error:
        log.warning("could not tell the fleet that this worker goes: %s", error)
