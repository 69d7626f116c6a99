"""Rows of stored files. Knows nothing of who made them."""

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from core.artifacts.models import Artifact
from core.errors import NotFound
from core.ids import new_id
from core.storage import StoredFile


def record_files(
    session: Session, project_id: str, job_id: str, storage_key: str, files: list[StoredFile]
) -> None:
    """One row a file of a finished job, in the transaction that records its success."""
    session.add_all(
        Artifact(
            id=new_id("art"),
            project_id=project_id,
            job_id=job_id,
            path=file.path,
            storage_key=f"{storage_key}/{file.path}",
            bytes=file.bytes,
            sha256=file.sha256,
        )
        for file in files
    )


def get(session: Session, project_id: str, artifact_id: str) -> Artifact:
    artifact = session.scalar(
        select(Artifact).where(Artifact.id == artifact_id, Artifact.project_id == project_id)
    )
    if artifact is None:
        raise NotFound(f"There is no artifact '{artifact_id}' in this project.")
    return artifact


def of_job(session: Session, job_id: str) -> list[Artifact]:
    return list(
        session.scalars(select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.path))
    )


def forget_files(session: Session, storage_key: str) -> None:
    """Drop the rows of the file, or of all files of the folder, at a key that is about to go."""
    below = Artifact.storage_key.startswith(f"{storage_key}/", autoescape=True)
    session.execute(delete(Artifact).where(or_(Artifact.storage_key == storage_key, below)))
