"""What a user may call a thing: one rule for datasets, databases, adapters and merged models."""

import re
from pathlib import PurePath

from core.errors import InvalidInput

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
MOST_CHARACTERS = 63


def require_name(name: str, *, param: str) -> None:
    if not NAME.fullmatch(name):
        raise InvalidInput(
            f"'{name}' is no name: use 1 to 63 lower-case letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit.",
            param=param,
        )


def as_name(text: str) -> str:
    """The text as a name: lower case, everything else than letters, digits, '.' and '_' a '-'.
    Empty where nothing of it can stand in one."""
    return re.sub(r"[^a-z0-9._]+", "-", text.lower()).strip("-._")[:MOST_CHARACTERS]


def name_of_file(filename: str, *, unnamed: str) -> str:
    """What a thing made of this file is called if nobody says it."""
    return as_name(PurePath(filename).stem) or unnamed
