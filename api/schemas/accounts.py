"""The objects of accounts: keys, which never show their secret again, and projects."""

from api.schemas.common import Shape
from core.accounts.models import ApiKey, Project
from core.accounts.quotas import Quotas, Usage


class KeyShape(Shape):
    """`prefix` is the beginning of the secret: enough to tell keys apart, useless as a key."""

    id: str
    object: str = "api_key"
    name: str
    prefix: str
    scopes: list[str]
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None


class NewKeyShape(KeyShape):
    secret: str | None
    """Shown in this answer alone; null where the answer is repeated for an Idempotency-Key."""


class ProjectShape(Shape):
    id: str
    object: str = "project"
    name: str
    quotas: Quotas
    usage: Usage
    created_at: int


class NewProjectShape(ProjectShape):
    key: NewKeyShape
    """The first key, which administers the project."""


def key_shape(row: ApiKey) -> KeyShape:
    return KeyShape(**_key_fields(row))


def new_key_shape(row: ApiKey, secret: str) -> NewKeyShape:
    return NewKeyShape(**_key_fields(row), secret=secret)


def project_shape(row: Project, usage: Usage) -> ProjectShape:
    return ProjectShape(
        id=row.id,
        name=row.name,
        quotas=Quotas.model_validate(row.quotas),
        usage=usage,
        created_at=int(row.created_at),
    )


def _key_fields(row: ApiKey) -> dict[str, object]:
    return {
        "id": row.id,
        "name": row.name,
        "prefix": row.prefix,
        "scopes": row.scopes,
        "created_at": int(row.created_at),
        "expires_at": _whole(row.expires_at),
        "revoked_at": _whole(row.revoked_at),
        "last_used_at": _whole(row.last_used_at),
    }


def _whole(moment: float | None) -> int | None:
    return None if moment is None else int(moment)
