"""Projects and keys: who may ask. Knows nothing of HTTP and of what is asked."""

from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.accounts.models import ApiKey, Project
from core.db import db_now
from core.errors import Forbidden, Unauthenticated
from core.ids import new_id
from core.security import PREFIX_LENGTH, digest, new_key, same_digest

SCOPES = ("read", "write", "admin")
DEFAULT_PROJECT = "default"
TOUCH_SECONDS = 60  # a key's last use is noted at most this often: a read must not cost a write


@dataclass(frozen=True)
class Principal:
    """Who is asking: a key of one project."""

    key_id: str
    project_id: str
    scopes: frozenset[str]

    def require(self, scope: str) -> None:
        """`admin` includes `write` includes `read`."""
        if not any(SCOPES.index(held) >= SCOPES.index(scope) for held in self.scopes):
            raise Forbidden(f"This key lacks the scope '{scope}'; ask for a key that has it.")


def ensure_project(session: Session, name: str) -> Project:
    project = session.scalar(select(Project).where(Project.name == name))
    if project is None:
        project = Project(id=new_id("proj"), name=name)
        session.add(project)
        session.flush()
    return project


def create_key(
    session: Session, project: Project, *, name: str, scopes: tuple[str, ...] = ("admin",)
) -> tuple[ApiKey, str]:
    """A new key of the project and its secret, which is stored nowhere."""
    fresh = new_key()
    key = ApiKey(
        id=new_id("key"),
        project_id=project.id,
        name=name,
        prefix=fresh.prefix,
        sha256=fresh.sha256,
        scopes=list(scopes),
    )
    session.add(key)
    session.flush()
    return key, fresh.secret


def authenticate(session: Session, secret: str) -> tuple[Principal, bool]:
    """The principal of a secret and whether its last use is due to be noted; else
    `Unauthenticated`."""
    now = session.scalar(select(db_now()))
    candidates = session.scalars(
        select(ApiKey).where(ApiKey.prefix == secret[:PREFIX_LENGTH], ApiKey.revoked_at.is_(None))
    )
    for key in candidates:
        alive = key.expires_at is None or key.expires_at > now
        if alive and same_digest(key.sha256, digest(secret)):
            due = (key.last_used_at or 0) < now - TOUCH_SECONDS
            return Principal(key.id, key.project_id, frozenset(key.scopes)), due
    raise Unauthenticated(
        "This API key is unknown, expired or revoked. Send 'Authorization: Bearer <key>' with a "
        "key of this platform (`tuneyard up` writes one to connection.json)."
    )


def touch_key(session: Session, key_id: str) -> None:
    session.execute(update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=db_now()))
