"""Secrets taken out of a text before it is written anywhere. Knows the shapes of secrets alone.

What is left of one says what it was: `ty-XXXXXXXX***` is the key with that prefix.
"""

import re
from collections.abc import Callable

from core.security import PREFIX_LENGTH

GONE = "***"
MOST_CHARACTERS = 64 * 1024
"""Of a line; the rest is cut off, since it can't be looked through in a moment."""

# How long each part may be is bounded, so that no text takes more than a moment.
_API_KEY = re.compile(r"\bty-[A-Za-z0-9_-]{16,128}")
_SIGNING_SECRET = re.compile(r"\bwhsec_[A-Za-z0-9+/=_-]{8,128}")
# Up to the last @: what a password holds is not always percent-encoded.
_URL_PASSWORD = re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://[^\s:/?#@'\"]{0,256}):[^\s'\"<>]{1,512}@")
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9+/=._~-]{8,1024}", re.IGNORECASE)
_NAMED = re.compile(
    r"\b([\w-]{0,20}(?:password|passwd|secret|api[_-]?key|authorization)[\w-]{0,20}"
    r"[\"']?\s{0,4}[=:]\s{0,4})(\"[^\"]{1,1024}|'[^']{1,1024}|[^\s\"',;&}\])]{1,1024})",
    re.IGNORECASE,
)


def _named(found: re.Match[str]) -> str:
    quote = found[2][0] if found[2][0] in "\"'" else ""
    return f"{found[1]}{quote}{GONE}"


RULES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (_API_KEY, lambda found: found[0][:PREFIX_LENGTH] + GONE),
    (_SIGNING_SECRET, f"whsec_{GONE}"),
    (_URL_PASSWORD, rf"\1:{GONE}@"),
    (_BEARER, rf"\1 {GONE}"),
    (_NAMED, _named),
)


def redact(text: str) -> str:
    """The text without API keys, signing secrets, passwords of URLs and what is named a secret."""
    if len(text) > MOST_CHARACTERS:
        return "".join(redact(line[:MOST_CHARACTERS]) for line in text.splitlines(keepends=True))
    for pattern, left in RULES:
        text = pattern.sub(left, text)
    return text
