"""Table of uploaded files."""

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from core.db import Base, db_now


class File(Base):
    __tablename__ = "files"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    purpose: Mapped[str]
    filename: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    storage_key: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[float] = mapped_column(default=db_now())
    expires_at: Mapped[float | None]
    """The keeper deletes the bytes after this moment."""
    deleted_at: Mapped[float | None]
    """Set when the bytes are gone; the row stays for the jobs that name it."""
