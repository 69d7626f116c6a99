"""Table of registered target databases."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.db import Base, db_now


class TargetDatabase(Base):
    __tablename__ = "databases"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str]
    dialect: Mapped[str]
    storage_key: Mapped[str | None] = mapped_column(index=True)
    """The SQLite file; None for a database that is reached by a DSN."""
    dsn: Mapped[str | None] = mapped_column(Text)
    """With its password, so it is in no answer, log or event; a runner hears it by its pipe."""
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str | None]
    schema: Mapped[dict[str, Any]]
    created_at: Mapped[float] = mapped_column(default=db_now())
