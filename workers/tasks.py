"""The Celery tasks. Each is a few lines: the work is elsewhere."""

import time
from typing import Any

from celery.exceptions import Ignore

from core.batches.finishing import finish_in_background
from core.fleet.service import keeper_run
from core.jobs.sweep import sweep
from core.jobs.types import TYPES
from core.queue import BATCHES, DELIVER, RETAIN, SWEEP
from core.retention import retain_in_background
from core.webhooks.keeper import deliver_in_background
from workers import supervisor
from workers.app import THIS, app, settings
from workers.supervisor import JobCancelled, JobFailed


def run_job(task: Any, job_id: str) -> str:
    try:
        result = supervisor.run(job_id, THIS["worker_id"], THIS["queue"], THIS["device"])
    except (JobFailed, JobCancelled) as end:
        # Flower shows the causes of an error too, as they are; those only our log may tell.
        raise end from None
    except MemoryError:  # it would take the worker's main process down with it
        raise JobFailed("the supervisor ran out of memory") from None
    if result == supervisor.NOT_CLAIMED and task.request.delivery_info.get("redelivered"):
        # RabbitMQ brought the same message again, after a lost connection or a long time without
        # an ack. A result would write over the true one in Flower: the task's id is the same.
        raise Ignore
    return result


# One name a type, the same work: a shadow name would not reach the publisher's event.
for kind in TYPES:
    app.task(name=kind.name, bind=True, throws=(JobFailed, JobCancelled))(run_job)


class Swept:
    """When this process last ended a sweep, by the monotonic clock."""

    at: float | None = None


@app.task(name=SWEEP)
def run_sweep() -> int:
    if Swept.at is not None and time.monotonic() - Swept.at < settings.sweep_seconds / 2:
        return 0  # one of those that piled up while no keeper ran
    with keeper_run("sweep"):
        given_back = sweep()
    Swept.at = time.monotonic()
    return given_back


@app.task(name=BATCHES)
def run_batches() -> str:
    return finish_in_background()


@app.task(name=DELIVER)
def run_deliveries() -> int:
    return deliver_in_background()


@app.task(name=RETAIN)
def run_retention() -> str:
    return retain_in_background()
