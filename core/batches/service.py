"""Batches: a job of type `generate` by OpenAI's name and rules. Knows no HTTP and makes no file.

What the batch was asked for, what its file was found to be and which files came of it stand in the
job's `request`:

    endpoint, completion_window, input_file_id, output_seconds   as asked
    model, total, errors                                         of the validation
    completed, failed, usage, output_file_id, error_file_id, finalized_at
                                                                 since its files are made
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from core.batches.lines import Endpoint, LineError
from core.batches.status import Life
from core.batches.validation import Verdict
from core.db import db_now
from core.errors import InvalidInput, JobFailure, NotFound, TooLarge, WrongState
from core.files import service as files
from core.files.models import File
from core.jobs import service as jobs
from core.jobs.models import Job
from core.jobs.types.generate import GenerateParams
from core.webhooks.outbox import tell

SURFACE = "batch"
MOST_BYTES = 200_000_000
SLACK_SECONDS = 3600
"""The window ends a batch before its time limit does."""
UNITS = {"m": 60, "h": 3600}
LONGEST_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True)
class Order:
    """What a caller asks for. `output_seconds`: how long the files are kept; None is for good."""

    input_file_id: str
    endpoint: Endpoint
    completion_window: str
    metadata: dict[str, str]
    output_seconds: int | None = None

    def to_say_again(
        self, verdict: Verdict, *, finalized_at: float | None = None
    ) -> dict[str, Any]:
        """The job's `request` at the start; one whose file was refused has nothing to wait for."""
        errors = None
        if verdict.error_count:
            errors = {"object": "list", "data": verdict.errors, "total": verdict.error_count}
        return {
            "endpoint": self.endpoint,
            "completion_window": self.completion_window,
            "input_file_id": self.input_file_id,
            "output_seconds": self.output_seconds,
            "model": verdict.model,
            "total": verdict.total,
            "errors": errors,
            "completed": 0,
            "failed": 0,
            "finalized_at": finalized_at,
        }


def seconds_of(window: str) -> int:
    """`24h`, or another number of hours or minutes up to a week."""
    number, unit = window[:-1], window[-1:]
    sound = number.isascii() and number.isdecimal() and unit in UNITS
    seconds = int(number) * UNITS[unit] if sound else 0
    if not 0 < seconds <= LONGEST_SECONDS:
        raise ValueError("'24h' is right, or another number of hours or minutes up to 168h")
    return seconds


def input_of(session: Session, project_id: str, file_id: str) -> File:
    """The file that a batch is to be made of."""
    try:
        file = files.get(session, project_id, file_id)
    except NotFound as error:
        raise NotFound(error.message, param="input_file_id") from None
    if file.purpose != "batch":
        message = f"The file's purpose is '{file.purpose}'; upload it with the purpose 'batch'."
        raise InvalidInput(message, param="input_file_id", code="invalid_purpose")
    if file.bytes > MOST_BYTES:
        message = f"A batch's file has at most {MOST_BYTES // 1_000_000} MB; split it."
        raise TooLarge(message, param="input_file_id")
    return file


def create(session: Session, project_id: str, order: Order, verdict: Verdict) -> Job:
    """Queue the batch; or record it as failed, with what is wrong with its file."""
    if not verdict.error_count:
        try:
            with session.begin_nested():  # nothing is left of a batch that was refused half-way
                return _submit(session, project_id, order, verdict)
        except (InvalidInput, NotFound) as error:
            verdict.add(_of_refusal(error), verdict.first_line)
    message = f"{verdict.error_count} errors in {verdict.total} lines; `errors` names the lines."
    batch = _submit(session, project_id, order, verdict, refusal=JobFailure("data", message))
    tell(session, project_id, "batch.failed", batch.id)
    return batch


def _submit(
    session: Session,
    project_id: str,
    order: Order,
    verdict: Verdict,
    *,
    refusal: JobFailure | None = None,
) -> Job:
    now = session.scalar(select(db_now()))
    window = seconds_of(order.completion_window)
    return jobs.submit(
        session,
        project_id,
        "generate",
        GenerateParams(
            model=verdict.model or "",
            database=verdict.database,
            file=order.input_file_id,
            endpoint=order.endpoint,
        ),
        time_limit_seconds=window + SLACK_SECONDS,
        surface=SURFACE,
        request=order.to_say_again(verdict, finalized_at=now if refusal else None),
        labels=order.metadata,
        expires_at=now + window,
        refusal=refusal,
    )


def _of_refusal(error: InvalidInput | NotFound) -> LineError:
    code = f"{error.param}_not_found" if isinstance(error, NotFound) else error.code
    return LineError(code, error.message, f"body.{error.param}")


def all_of(project_id: str) -> Select[tuple[Job]]:
    return select(Job).where(Job.project_id == project_id, Job.surface == SURFACE)


def get(session: Session, project_id: str, batch_id: str) -> Job:
    job = session.scalar(all_of(project_id).where(Job.id == batch_id))
    if job is None:
        raise NotFound(f"There is no batch '{batch_id}' in this project.", param="batch_id")
    return job


def cancel(session: Session, project_id: str, batch_id: str) -> Job:
    """What it has by then is kept."""
    get(session, project_id, batch_id)
    try:
        return jobs.request_cancel(session, project_id, batch_id)
    except WrongState:
        message = "The batch has ended; only one that has not can be cancelled."
        raise WrongState(message, code="batch_not_cancellable") from None


def life_of(job: Job) -> Life:
    return Life(
        status=job.status,
        expires_at=job.expires_at,
        started_at=job.started_at,
        cancel_requested_at=job.cancel_requested_at,
        finished_at=job.finished_at,
        finalized_at=job.request.get("finalized_at"),
    )


def counts_of(job: Job) -> dict[str, int]:
    """How many lines are done: as the worker tells it, in the end as the files hold them."""
    request, progress = job.request, job.progress
    if request["finalized_at"] is None and progress:
        failed = progress.get("failed", 0)
        return {
            "total": request["total"],
            "completed": progress["step"] - failed,
            "failed": failed,
        }
    return {name: request[name] for name in ("total", "completed", "failed")}
