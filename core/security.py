"""API keys: how one is made, shown once, and recognised. Knows no table."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass

PREFIX_LENGTH = 11  # "ty-" and 8 characters: enough to find the row, useless as a secret


@dataclass(frozen=True)
class NewKey:
    """A fresh key: `secret` is shown once, the rest is stored."""

    secret: str
    prefix: str
    sha256: str


def digest(secret: str) -> str:
    # A fast hash suits a secret of 256 random bits; a slow one is for what people choose.
    return hashlib.sha256(secret.encode()).hexdigest()


def new_key() -> NewKey:
    secret = f"ty-{secrets.token_urlsafe(32)}"
    return NewKey(secret=secret, prefix=secret[:PREFIX_LENGTH], sha256=digest(secret))


def same_digest(left: str, right: str) -> bool:
    return hmac.compare_digest(left, right)
