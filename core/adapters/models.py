"""Tables of adapters (a named line of LoRA weights) and their versions."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from core.db import Base, db_now


class Adapter(Base):
    __tablename__ = "adapters"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str]
    created_at: Mapped[float] = mapped_column(default=db_now())

    versions: Mapped[list["AdapterVersion"]] = relationship(
        back_populates="adapter", order_by="AdapterVersion.version"
    )


class AdapterVersion(Base):
    __tablename__ = "adapter_versions"
    __table_args__ = (UniqueConstraint("adapter_id", "version"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    adapter_id: Mapped[str] = mapped_column(ForeignKey("adapters.id"))
    version: Mapped[int]
    base_model: Mapped[str] = mapped_column(ForeignKey("base_models.name"))
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    job_id: Mapped[str] = mapped_column(unique=True)
    """Unique: however often a job is attempted, it brings one version."""
    storage_key: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    settings: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    created_at: Mapped[float] = mapped_column(default=db_now())

    adapter: Mapped[Adapter] = relationship(back_populates="versions", lazy="joined")

    @property
    def address(self) -> str:
        return f"{self.adapter.name}:{self.version}"
