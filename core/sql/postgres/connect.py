"""A connection to a PostgreSQL server that somebody named. Knows libpq, names and addresses.

What is special of our own place in the network opens no door: not the user that we run as, its
files and environment, nor the address that we come from. Only the password that was given does.
"""

import ipaddress
import socket

from psycopg import pq
from psycopg.conninfo import make_conninfo

CONNECT_SECONDS = 10
# Parts of what libpq says of a connection that it did not get: (kind, what we say).
REASONS = (
    ("connection refused", "away", "nothing listens there"),
    ("timeout expired", "away", f"no answer within {CONNECT_SECONDS} s"),
    ("too many", "away", "it has no connection left"),
    ("connection slots", "away", "it has no connection left"),
    ("is starting up", "away", "it is starting"),
    ("is shutting down", "away", "it is shutting down"),
    ("recovery mode", "away", "it is starting"),
    ("password authentication failed", "refused", "the user or the password is not right"),
    ("no pg_hba.conf entry", "refused", "the server lets this user in from elsewhere only"),
    (
        "authentication method requirement",
        "refused",
        "the server asks this user for no password, or for one in clear text without TLS; "
        "scram-sha-256 is right",
    ),
    ("is not permitted to log in", "refused", "the role may not log in"),
    ("permission denied for database", "refused", "the role may not connect to the database"),
    ('database "', "refused", "there is no database of that name"),
    ("does not support ssl", "refused", "the server has no TLS"),
    ("invalid response", "refused", "what answers there is no PostgreSQL"),
    ("expected authentication request", "refused", "what answers there is no PostgreSQL"),
)


class NoConnection(Exception):
    """`kind`: away (may come back) or refused (won't, as things are)."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


def connect(address: dict) -> "pq.PGconn":
    """Log in, or raise `NoConnection`. `address` is that of `core.sql.postgres.dsn`, as a dict."""
    found = addresses(address["host"], address["port"])
    tls = address["sslmode"] == "require"
    conninfo = make_conninfo(
        host=",".join([address["host"]] * len(found)),
        hostaddr=",".join(found),
        port=address["port"],
        dbname=address["database"],
        user=address["user"],
        password=address["password"],
        sslmode=address["sslmode"],
        gssencmode="disable",
        require_auth="scram-sha-256,md5,password" if tls else "scram-sha-256,md5",
        connect_timeout=CONNECT_SECONDS,
        client_encoding="UTF8",
        application_name="tuneyard",
    )
    connection = pq.PGconn.connect(conninfo.encode())
    if connection.status != pq.ConnStatus.OK:
        said = connection.error_message.decode("utf-8", "replace").lower()
        for part, kind, reason in REASONS:
            if part in said:
                raise NoConnection(kind, reason)
        raise NoConnection("away", "no connection came about")
    return connection


def addresses(host: str, port: int) -> list[str]:
    """What the name stands for; none of it may be an address that no database has."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise NoConnection("away", "the name of the host is not known") from None
    known = list(dict.fromkeys(entry[4][0] for entry in found))
    if any(map(is_closed, known)):
        raise NoConnection("refused", "link-local, multicast and reserved addresses are closed")
    return known


def is_closed(text: str) -> bool:
    address = ipaddress.ip_address(text)
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_loopback:  # among the reserved ones, of IPv6
        return False
    return (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address.is_reserved
    )
