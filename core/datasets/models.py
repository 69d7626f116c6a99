"""Table of datasets: the validated, immutable, split examples made of a file."""

from typing import Any

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from core.db import Base, db_now


class Dataset(Base):
    __tablename__ = "datasets"
    # A name is taken while a dataset of it is ready or in the making; an invalid one gives it back.
    __table_args__ = (
        Index(
            "uq_datasets_project_id_name",
            "project_id",
            "name",
            unique=True,
            sqlite_where=text("status <> 'invalid'"),
            postgresql_where=text("status <> 'invalid'"),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str]
    status: Mapped[str]
    """processing, ready or invalid."""
    kind: Mapped[str | None]
    """sql, instruction or chat; known once it is prepared."""
    file_id: Mapped[str] = mapped_column(ForeignKey("files.id"))
    database_id: Mapped[str | None] = mapped_column(ForeignKey("databases.id"))
    job_id: Mapped[str | None] = mapped_column(index=True)
    """Its prepare job. No foreign key: jobs know datasets, never the other way round."""
    storage_key: Mapped[str | None] = mapped_column(index=True)
    content_hash: Mapped[str | None]
    report: Mapped[dict[str, Any] | None]
    statistics: Mapped[dict[str, Any] | None]
    splits: Mapped[dict[str, Any] | None]
    created_at: Mapped[float] = mapped_column(default=db_now())
