"""Fine-tuning jobs as OpenAI has them: a prepare job of the files, a train job that waits for it.

The train job is the fine-tuning job: same id, no row beside it. Knows no HTTP.
"""

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from core.accounts.quotas import require_place_in_queue
from core.adapters.names import resolve_model
from core.basemodels.models import BaseModel
from core.datasets import service as datasets
from core.datasets.plan import GIVEN
from core.errors import InvalidInput, NotFound
from core.files import service as files
from core.files.models import File
from core.finetuning.order import Order, adapter_name, training_params
from core.ids import new_id
from core.jobs import service as jobs
from core.jobs.models import Job
from core.jobs.start import is_checkpoint
from core.jobs.status import FINAL, JobStatus
from core.jobs.types.prepare import PrepareParams

SURFACE = "fine_tuning"
PURPOSE = "fine-tune"


def create(session: Session, project_id: str, order: Order) -> Job:
    """Queue both jobs, or raise what stands in their way; returns the train job."""
    base, start = _start(session, project_id, order)
    training = _require_file(session, project_id, order.training_file, param="training_file")
    if order.validation_file is not None:
        _require_file(session, project_id, order.validation_file, param="validation_file")
    adapter = adapter_name(order, training.filename)
    prepare = PrepareParams(
        name=new_id("ft").replace("_", "-"),
        file=order.training_file,
        validation_file=order.validation_file,
        split=GIVEN,
        database=order.database,
    )
    prepared = jobs.submit(session, project_id, "prepare", prepare)
    params = training_params(
        order,
        base=base.name,
        parameters=base.parameters,
        continue_from=start,
        dataset=datasets.of_job(session, prepared.id).id,
        adapter=adapter,
    )
    return jobs.submit(
        session,
        project_id,
        "train",
        params,
        surface=SURFACE,
        request=order.to_say_again(),
        labels=order.metadata,
    )


def all_of(project_id: str) -> Select[tuple[Job]]:
    return select(Job).where(Job.project_id == project_id, Job.surface == SURFACE)


def get(session: Session, project_id: str, job_id: str) -> Job:
    job = session.scalar(all_of(project_id).where(Job.id == job_id))
    if job is None:
        raise NotFound(
            f"There is no fine-tuning job '{job_id}' in this project.", param="fine_tuning_job_id"
        )
    return job


def cancel(session: Session, project_id: str, job_id: str) -> Job:
    """End it, and the validation of its files with it."""
    prepare = _lock_prepare(session, project_id, job_id)
    cancelled = jobs.request_cancel(session, project_id, job_id)
    if prepare is not None and prepare.status not in FINAL:
        jobs.request_cancel(session, project_id, prepare.id)
    return cancelled


def pause(session: Session, project_id: str, job_id: str) -> Job:
    """Hold the training. The validation of its files, which needs no GPU, goes on: what is wrong
    with them is known by the time the job is resumed."""
    _lock_prepare(session, project_id, job_id)
    return jobs.request_pause(session, project_id, job_id)


def resume(session: Session, project_id: str, job_id: str) -> Job:
    """Queue it again; or end it, if its files were found wrong while it was paused: that takes no
    place in the queue."""
    job = get(session, project_id, job_id)
    if job.status == JobStatus.PAUSED and not _stranded(session, job):
        require_place_in_queue(session, project_id)  # before a row is locked, as by a submit
    _lock_prepare(session, project_id, job_id)
    resumed = jobs.bring_back(session, job)
    if _stranded(session, job):
        jobs.fail_stranded(session, job_id)
        session.refresh(resumed)
    return resumed


def _stranded(session: Session, job: Job) -> bool:
    """What it waits for ended without success."""
    prepare = session.get(Job, job.depends_on) if job.depends_on is not None else None
    return prepare is not None and prepare.status in (JobStatus.FAILED, JobStatus.CANCELLED)


def _lock_prepare(session: Session, project_id: str, job_id: str) -> Job | None:
    """The job's prepare, locked before the job itself, as whoever ends a prepare locks the two:
    they don't wait for each other, and their events come in one order."""
    job = get(session, project_id, job_id)
    if job.depends_on is None:
        return None
    return session.get_one(Job, job.depends_on, populate_existing=True, with_for_update=True)


def _start(session: Session, project_id: str, order: Order) -> tuple[BaseModel, str | None]:
    """The base model, and where on it the training starts if not from nothing."""
    target = resolve_model(session, project_id, order.model)
    asked = order.training.get("continue_from")
    if target.version is not None:
        if asked is not None:
            raise InvalidInput(
                f"model: '{order.model}' is a tuned model, where the training starts already; "
                "leave out continue_from, or name the base model.",
                param="continue_from",
            )
        return target.base, target.version.address
    if target.merged is not None or target.checkpoint is not None:
        raise InvalidInput(
            f"model: '{order.model}' is neither a base model nor an adapter version; a training "
            "starts from one of these. GET /v1/models lists them.",
            param="model",
        )
    if asked is None or is_checkpoint({"continue_from": asked}):
        return target.base, asked
    return target.base, _address(session, project_id, asked)


def _address(session: Session, project_id: str, name: str) -> str:
    """`name:version` of an adapter version, by whichever of its names; what is none is left as it
    is, for the training's own check to refuse."""
    try:
        version = resolve_model(session, project_id, name).version
    except InvalidInput:
        return name
    return name if version is None else version.address


def _require_file(session: Session, project_id: str, file_id: str, *, param: str) -> File:
    try:
        file = files.get(session, project_id, file_id)
    except NotFound as error:
        raise NotFound(error.message, param=param) from None
    if file.purpose != PURPOSE:
        raise InvalidInput(
            f"{param}: the file '{file_id}' was uploaded for '{file.purpose}'; upload it with the "
            f"purpose '{PURPOSE}'.",
            param=param,
        )
    return file
