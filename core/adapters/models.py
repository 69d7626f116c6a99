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
    storage_key: Mapped[str] = mapped_column(index=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    settings: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    created_at: Mapped[float] = mapped_column(default=db_now())
    deleted_at: Mapped[float | None]
    """Set when its files are gone; the row and its number stay, no version takes them again."""

    adapter: Mapped[Adapter] = relationship(back_populates="versions", lazy="joined")

    @property
    def address(self) -> str:
        return f"{self.adapter.name}:{self.version}"


class AdapterAlias(Base):
    """A movable name for a version: `sales-sql@production`."""

    __tablename__ = "adapter_aliases"
    __table_args__ = (UniqueConstraint("adapter_id", "name"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    adapter_id: Mapped[str] = mapped_column(ForeignKey("adapters.id"))
    name: Mapped[str]
    version_id: Mapped[str] = mapped_column(ForeignKey("adapter_versions.id"))
    bar: Mapped[dict[str, Any] | None]
    """What a version's evaluation has to show before the alias moves to it."""
    created_at: Mapped[float] = mapped_column(default=db_now())


class AliasMove(Base):
    """Every move of an alias, so that the last one can be taken back."""

    __tablename__ = "alias_moves"

    id: Mapped[str] = mapped_column(primary_key=True)
    alias_id: Mapped[str] = mapped_column(ForeignKey("adapter_aliases.id"), index=True)
    from_version_id: Mapped[str | None] = mapped_column(ForeignKey("adapter_versions.id"))
    to_version_id: Mapped[str] = mapped_column(ForeignKey("adapter_versions.id"))
    evaluation_id: Mapped[str | None]
    """The job whose figures met the bar."""
    rolled_back: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[float] = mapped_column(default=db_now())
