"""What a user may call a thing: one rule for datasets, databases, adapters and merged models."""

import re

from core.errors import InvalidInput

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def require_name(name: str, *, param: str) -> None:
    if not NAME.fullmatch(name):
        raise InvalidInput(
            f"'{name}' is no name: use 1 to 63 lower-case letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit.",
            param=param,
        )
