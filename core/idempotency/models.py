"""Table of the answers to requests that bore an `Idempotency-Key`."""

from sqlalchemy import ForeignKey, Text
from sqlalchemy.orm import Mapped, mapped_column

from core.db import Base, db_now


class IdempotencyKey(Base):
    """Written in the transaction of what the request created: both are there, or neither."""

    __tablename__ = "idempotency_keys"

    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_sha256: Mapped[str]
    """Of method, path and body: the same key with another request is a mistake of the client's."""
    status: Mapped[int]
    body: Mapped[str] = mapped_column(Text)
    """As text, so that it is given again to the byte."""
    created_at: Mapped[float] = mapped_column(default=db_now(), index=True)
