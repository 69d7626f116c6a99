"""Rows of datasets. Knows nothing of how one is prepared."""

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from core.datasets.models import Dataset
from core.db import exclusive
from core.errors import InvalidInput, NotFound
from core.files.models import File
from core.files.purposes import DAY, OF_DATASET
from core.files.service import drop_bytes, expire_after
from core.ids import new_id
from core.settings import get_settings

PROCESSING, READY, INVALID = "processing", "ready", "invalid"


def require_free_name(session: Session, project_id: str, name: str) -> None:
    """A name is taken while a dataset of it is ready or in the making."""
    exclusive(session, f"dataset:{project_id}:{name}")
    taken = select(Dataset.id).where(
        Dataset.project_id == project_id, Dataset.name == name, Dataset.status != INVALID
    )
    if session.scalar(taken) is not None:
        raise InvalidInput(
            f"A dataset named '{name}' exists already; datasets never change, choose another name.",
            param="name",
            code="name_taken",
        )


def create(
    session: Session,
    project_id: str,
    *,
    name: str,
    file_id: str,
    database_id: str | None,
    job_id: str,
) -> Dataset:
    dataset = Dataset(
        id=new_id("ds"),
        project_id=project_id,
        name=name,
        status=PROCESSING,
        file_id=file_id,
        database_id=database_id,
        job_id=job_id,
    )
    session.add(dataset)
    session.flush()
    return dataset


def find(session: Session, project_id: str, reference: str) -> Dataset:
    """A dataset of the project by id or name; of invalid ones with that name the newest."""
    dataset = session.scalars(
        select(Dataset)
        .where(
            Dataset.project_id == project_id,
            or_(Dataset.id == reference, Dataset.name == reference),
        )
        .order_by(Dataset.status == INVALID, Dataset.id.desc())
    ).first()
    if dataset is None:
        raise NotFound(f"There is no dataset '{reference}' in this project.", param="dataset")
    return dataset


def of_job(session: Session, job_id: str) -> Dataset:
    return session.scalars(select(Dataset).where(Dataset.job_id == job_id)).one()


def require_usable(dataset: Dataset) -> str | None:
    """The prepare job to wait for, None if the dataset is ready; an invalid one is refused."""
    if dataset.status == INVALID:
        raise InvalidInput(
            f"The dataset '{dataset.name}' is invalid; GET /v1/datasets/{dataset.id} has the "
            "report. Mend the file and upload it as a new dataset.",
            param="dataset",
            code="dataset_invalid",
        )
    return dataset.job_id if dataset.status == PROCESSING else None


def require_split(dataset: Dataset, split: str) -> None:
    if dataset.splits is not None and split not in dataset.splits:
        raise InvalidInput(
            f"The dataset '{dataset.name}' has no split '{split}'; it has "
            f"{', '.join(sorted(dataset.splits))}.",
            param="split",
        )


def mark_invalid(session: Session, dataset: Dataset, report: dict) -> None:
    """Keep the report. What was uploaded with the dataset goes; a file that was uploaded by itself
    is its customer's, who may want it for another one."""
    dataset.status = INVALID
    dataset.report = report
    if _came_with_its_file(session, dataset):
        drop_bytes(session, dataset.file_id)


def mark_abandoned(session: Session, dataset: Dataset, reason: str) -> None:
    """Its job ended without a verdict on the rows. What was uploaded with it stays for a retry, as
    long as the checkpoints of an ended job do."""
    dataset.status = INVALID
    dataset.report = {"problems": [{"message": reason}], "rows": 0}
    if _came_with_its_file(session, dataset):
        expire_after(session, dataset.file_id, get_settings().retain_checkpoints_days * DAY)


def mark_ready(session: Session, dataset: Dataset) -> None:
    """An earlier job may have been abandoned over the same upload: it stays for good again."""
    dataset.status = READY
    if _came_with_its_file(session, dataset):
        expire_after(session, dataset.file_id, None)


def _came_with_its_file(session: Session, dataset: Dataset) -> bool:
    return session.get_one(File, dataset.file_id).purpose == OF_DATASET
