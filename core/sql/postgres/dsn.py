"""Where a PostgreSQL database is and how one logs in there. Reads and shows DSNs, connects nowhere.

A refusal never repeats what was given: what was misread may be a part of the password.
"""

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from core.errors import InvalidInput

SSL_MODES = ("prefer", "require", "disable")
FORM = "postgresql://user:password@host:5432/database"
_LONGEST = 2000


@dataclass(frozen=True)
class Address:
    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    sslmode: str = "prefer"

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}/{self.database}"

    @property
    def shown(self) -> str:
        """The DSN as anybody may see it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user, database = quote(self.user, safe=""), quote(self.database, safe="")
        mode = "" if self.sslmode == SSL_MODES[0] else f"?sslmode={self.sslmode}"
        return f"postgresql://{user}:***@{host}:{self.port}/{database}{mode}"


def read_dsn(dsn: str) -> Address:
    """Raises `InvalidInput`. A host is a name or an address: no socket of this machine, no list of
    hosts; no parameter that names a file or a service."""
    if len(dsn) > _LONGEST or not dsn.isprintable() or " " in dsn:
        raise _wrong(f"it has more than {_LONGEST} characters, or one that no URL has")
    try:
        parts = urlsplit(dsn)
        host, port = unquote(parts.hostname or ""), parts.port or 5432
        given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise _wrong("host or port can't be read") from None
    if parts.scheme not in ("postgresql", "postgres") or parts.fragment:
        raise _wrong("it is no URL of that form")
    if not host or "/" in host or "," in host or "\\" in host:
        raise _wrong("the host must be one name or address that this server reaches by network")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    database = unquote(parts.path.removeprefix("/"))
    if not user or not password:
        raise _wrong("user and password must be there")
    if not database or "/" in database:
        raise _wrong("the database's name must be there")
    if any("\x00" in text for text in (host, user, password, database)):
        raise _wrong("it has the character NUL")
    if [name for name, _ in given if name != "sslmode"]:
        raise _wrong("the only parameter is sslmode")
    sslmode = dict(given).get("sslmode", SSL_MODES[0])
    if sslmode not in SSL_MODES:
        raise _wrong(f"sslmode is one of {', '.join(SSL_MODES)}")
    return Address(host, port, database, user, password, sslmode)


def _wrong(what: str) -> InvalidInput:
    return InvalidInput(
        f"dsn: {what}. {FORM} is right, with ?sslmode=require where the server has TLS; "
        "percent-encode what has a meaning in URLs (@ : / ? # %) within user and password.",
        param="dsn",
        code="invalid_dsn",
    )
