"""The first key of a platform: what `tuneyard up` needs before there is anybody to ask."""

from core.accounts.service import DEFAULT_PROJECT, authenticate, create_key, ensure_project
from core.db import get_database
from core.errors import Unauthenticated
from core.settings import Settings


def ensure_admin_key(settings: Settings, known_secret: str | None = None) -> str:
    """`known_secret` while it is good, else the secret of a new admin key of project `default`."""
    with get_database(settings).transaction() as session:
        if known_secret:
            try:
                authenticate(session, known_secret)
                return known_secret
            except Unauthenticated:
                pass  # another database, or revoked: the platform needs a key all the same
        project = ensure_project(session, DEFAULT_PROJECT)
        return create_key(session, project, name="up")[1]
