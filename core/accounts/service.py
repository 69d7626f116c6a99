"""Keys of projects: who may ask, and for what. Knows nothing of HTTP and of what is asked."""

from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.accounts.models import ApiKey, Project
from core.db import db_now, exclusive
from core.errors import Forbidden, InvalidInput, NotFound, Unauthenticated, WrongState
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
    session: Session,
    project: Project,
    *,
    name: str,
    scopes: tuple[str, ...] = ("admin",),
    expires_at: float | None = None,
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
        expires_at=expires_at,
    )
    session.add(key)
    session.flush()
    return key, fresh.secret


def grant_key(
    session: Session,
    principal: Principal,
    *,
    name: str,
    scopes: tuple[str, ...],
    expires_at: float | None,
) -> tuple[ApiKey, str]:
    """A key that may do no more than the key that asks for it, and lives no longer."""
    for scope in scopes:
        principal.require(scope)
    if expires_at is not None and expires_at <= session.scalar(select(db_now())):
        raise InvalidInput("expires_at: a moment in the future is right.", param="expires_at")
    end = session.get_one(ApiKey, principal.key_id).expires_at
    if end is not None and (expires_at is None or expires_at > end):
        raise InvalidInput(
            f"expires_at: this key ends at {int(end)}, so it can't make one that lives longer.",
            param="expires_at",
        )
    project = session.get_one(Project, principal.project_id)
    return create_key(session, project, name=name, scopes=scopes, expires_at=expires_at)


def get_key(session: Session, project_id: str, key_id: str) -> ApiKey:
    key = session.scalar(select(ApiKey).where(ApiKey.id == key_id, ApiKey.project_id == project_id))
    if key is None:
        raise NotFound(f"There is no key '{key_id}' in this project.", param="key_id")
    return key


def revoke_key(session: Session, project_id: str, key_id: str) -> ApiKey:
    """The key is good for nothing from the commit on. A project keeps one key that administers."""
    exclusive(session, f"keys:{project_id}")  # two at once could revoke each other
    key = get_key(session, project_id, key_id)
    if key.revoked_at is not None:
        return key
    if not [other for other in _live_admins(session, project_id) if other.id != key_id]:
        raise WrongState(
            "This is the project's last key with scope 'admin'; make another one first, or nobody "
            "could make keys here any more.",
            code="last_admin_key",
        )
    key.revoked_at = session.scalar(select(db_now()))
    session.flush()
    return key


def _live_admins(session: Session, project_id: str) -> list[ApiKey]:
    alive = ApiKey.revoked_at.is_(None) & (
        ApiKey.expires_at.is_(None) | (ApiKey.expires_at > db_now())
    )
    keys = session.scalars(select(ApiKey).where(ApiKey.project_id == project_id, alive))
    return [key for key in keys if "admin" in key.scopes]


def authenticate(session: Session, secret: str) -> tuple[Principal, bool]:
    """The principal of a secret and whether its last use is due to be noted; else
    `Unauthenticated`."""
    candidates = session.execute(
        select(ApiKey, db_now()).where(
            ApiKey.prefix == secret[:PREFIX_LENGTH], ApiKey.revoked_at.is_(None)
        )
    )
    for key, now in candidates:
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
