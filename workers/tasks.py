"""The Celery tasks. Each is three lines: the work is elsewhere."""

from core.jobs.sweep import sweep
from core.jobs.types import TYPES
from core.queue import SWEEP
from workers import supervisor
from workers.app import THIS, app
from workers.supervisor import JobCancelled, JobFailed


def run_job(job_id: str) -> str:
    try:
        return supervisor.run(job_id, THIS["worker_id"], THIS["queue"], THIS["device"])
    except MemoryError as error:  # it would take the worker's main process down with it
        raise JobFailed("the supervisor ran out of memory") from error


# One name a type, the same work: a shadow name would not reach the publisher's event.
for kind in TYPES:
    app.task(name=kind.name, throws=(JobFailed, JobCancelled))(run_job)


@app.task(name=SWEEP)
def run_sweep() -> int:
    return sweep()
