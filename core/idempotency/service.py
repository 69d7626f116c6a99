"""Which requests were answered already, and how. Knows no HTTP and nothing of what they created."""

from sqlalchemy import delete, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.db import db_now
from core.errors import Conflict
from core.idempotency.models import IdempotencyKey

KEEP_SECONDS = 24 * 3600
IN_PROGRESS = "A request with this Idempotency-Key is still in progress; ask for its outcome later."


def begin(
    session: Session, project_id: str, key: str, request_sha256: str
) -> IdempotencyKey | None:
    """The answer that was recorded under the key, or None: then this request goes on, and alone.

    `Conflict` if the key was used for another request, or one with it is under way.
    """
    _alone(session, project_id, key)
    known = session.get(IdempotencyKey, (project_id, key))
    if known is None:
        return None
    if _is_old(session, known):
        session.delete(known)
        session.flush()
        return None
    if known.request_sha256 != request_sha256:
        raise Conflict(
            "This Idempotency-Key was used for another request; take a fresh key for a new one.",
            code="idempotency_key_reused",
            param="Idempotency-Key",
        )
    return known


def is_known(session: Session, project_id: str, key: str) -> bool:
    """Whether an answer is recorded under the key, to whatever request: `begin` says that."""
    known = session.get(IdempotencyKey, (project_id, key))
    return known is not None and not _is_old(session, known)


def record(
    session: Session, project_id: str, key: str, request_sha256: str, *, status: int, body: str
) -> None:
    """Keep the answer; it stands as soon as what the request created stands."""
    session.add(
        IdempotencyKey(
            project_id=project_id,
            key=key,
            request_sha256=request_sha256,
            status=status,
            body=body,
        )
    )
    try:
        session.flush()
    except IntegrityError:
        raise in_progress() from None


def drop_expired(session: Session) -> int:
    """Forget keys that are too old to be repeated; returns how many."""
    old = delete(IdempotencyKey).where(IdempotencyKey.created_at <= db_now() - KEEP_SECONDS)
    return session.execute(old).rowcount


def in_progress() -> Conflict:
    return Conflict(IN_PROGRESS, code="idempotency_key_in_progress", param="Idempotency-Key")


def _is_old(session: Session, known: IdempotencyKey) -> bool:
    return known.created_at <= session.scalar(select(db_now() - KEEP_SECONDS))


def _alone(session: Session, project_id: str, key: str) -> None:
    """Hold the key until the transaction ends, or `Conflict` at once. On SQLite a writer is alone,
    and a second one finds the first one's answer."""
    if session.get_bind().dialect.name != "postgresql":
        return
    name = f"idempotency:{project_id}:{key}"
    lock = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))")
    if not session.scalar(lock, {"name": name}):
        raise in_progress()
