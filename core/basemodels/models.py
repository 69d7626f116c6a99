"""Tables of base models (the operator's, shared by all) and merged models (a project's own)."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.db import Base, db_now


class BaseModel(Base):
    __tablename__ = "base_models"

    name: Mapped[str] = mapped_column(primary_key=True)
    parameters: Mapped[int] = mapped_column(BigInteger)
    architecture: Mapped[str]
    context_length: Mapped[int]
    manifest: Mapped[dict[str, Any]]
    """What the model store wrote: source, licence, size and sha256 per file."""
    created_at: Mapped[float] = mapped_column(default=db_now())


class MergedModel(Base):
    __tablename__ = "merged_models"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str]
    base_model: Mapped[str] = mapped_column(ForeignKey("base_models.name"))
    adapter_version_id: Mapped[str] = mapped_column(ForeignKey("adapter_versions.id"))
    job_id: Mapped[str] = mapped_column(unique=True)
    storage_key: Mapped[str] = mapped_column(index=True)
    precision: Mapped[str]
    parity: Mapped[dict[str, Any]]
    """How far the merged model is from the live adapter, as measured by the merge."""
    created_at: Mapped[float] = mapped_column(default=db_now())
    deleted_at: Mapped[float | None]
    """Set when its files are gone; the row stays for the jobs that name it."""
