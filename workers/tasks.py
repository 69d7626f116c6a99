"""The Celery tasks. Each is three lines: the work is elsewhere."""

from core.jobs.sweep import sweep
from core.queue import RUN, SWEEP
from workers import supervisor
from workers.app import THIS, app
from workers.supervisor import JobCancelled, JobFailed


@app.task(name=RUN, throws=(JobFailed, JobCancelled))
def run_job(job_id: str) -> str:
    try:
        return supervisor.run(job_id, THIS["worker_id"], THIS["queue"], THIS["device"])
    except MemoryError as error:  # it would take the worker's main process down with it
        raise JobFailed("the supervisor ran out of memory") from error


@app.task(name=SWEEP)
def run_sweep() -> int:
    return sweep()
