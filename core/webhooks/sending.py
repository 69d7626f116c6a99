"""One event on its way to one endpoint: signed, within one bound of time, to the looked-up address.

The status line of the answer is all that is wanted of it: so no redirect is followed, no body is
kept, and nothing that the other side says is parsed beyond three digits.
"""

import base64
import hashlib
import hmac
import json
import re
import secrets
import socket
import ssl
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Any

from core.webhooks.addresses import NotPublic, Place, read_url, resolve

SECONDS = 10.0
"""For look-up, connection, sending and the answer together, but for the system's own look-up."""
MOST_LINE_BYTES = 1024
MOST_ANSWER_BYTES = 64 * 1024
STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r?\n")


class Unsent(Exception):
    """There was no answer; the message says why."""


def new_secret() -> str:
    """In the form that clients decode: `whsec_` and base64."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def signature(secret: str, event_id: str, timestamp: int, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{event_id}.{timestamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"


def send(
    url: str, event: dict[str, Any], signing_secrets: Iterable[str], *, allow_private: bool
) -> int:
    """Post the event; the status code of the answer, or `Unsent`."""
    body = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
    moment = int(time.time())
    signatures = [signature(secret, event["id"], moment, body) for secret in signing_secrets]
    place = read_url(url, allow_private=allow_private)
    lines = (
        f"POST {place.path} HTTP/1.1",
        f"Host: {place.authority}",
        "User-Agent: tuneyard-webhooks",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"webhook-id: {event['id']}",
        f"webhook-timestamp: {moment}",
        f"webhook-signature: {' '.join(signatures)}",
        "Connection: close",
    )
    head = "\r\n".join([*lines, "", ""]).encode("ascii")
    try:
        addresses = resolve(place, allow_private=allow_private)
        return _exchange(place, addresses, head + body, time.monotonic() + SECONDS)
    except TimeoutError:
        raise Unsent(f"no answer within {SECONDS:g} s") from None
    except ssl.SSLError as error:
        raise Unsent(f"TLS: {error.reason or 'the handshake failed'}") from None
    except (NotPublic, OSError) as error:
        raise Unsent(str(error)) from None


def _exchange(place: Place, addresses: list[str], request: bytes, deadline: float) -> int:
    with _connect(place, addresses, deadline) as connection:
        connection.settimeout(_left(deadline))
        connection.sendall(request)
        said = b""
        while b"\n" not in said:
            said += _receive(connection, deadline)
            if len(said) > MOST_LINE_BYTES:
                break
        found = STATUS_LINE.match(said)
        if found is None:
            raise Unsent("the answer is no HTTP/1.1")
        _let_end(connection, deadline)
        return int(found[1])


def _connect(place: Place, addresses: list[str], deadline: float) -> socket.socket:
    """To the first of the addresses that takes a connection; the name is not looked up again. Each
    gets its share of what time is left: one that never answers must not cost the others theirs."""
    for left in range(len(addresses), 0, -1):
        try:
            at = addresses[-left], place.port
            raw = socket.create_connection(at, timeout=_left(deadline) / left)
            break
        except OSError:
            if left == 1:
                raise
    if not place.tls:
        return raw
    try:
        raw.settimeout(_left(deadline))
        return _tls().wrap_socket(raw, server_hostname=place.host)
    except BaseException:
        raw.close()
        raise


@lru_cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _receive(connection: socket.socket, deadline: float) -> bytes:
    connection.settimeout(_left(deadline))
    data = connection.recv(4096)
    if not data:
        raise Unsent("the connection was closed before an answer came")
    return data


def _let_end(connection: socket.socket, deadline: float) -> None:
    """Read the answer's end away: closed under its hands, the other side would log an error."""
    seen = 0
    with suppress(OSError, Unsent):
        while seen < MOST_ANSWER_BYTES:
            seen += len(_receive(connection, deadline))


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
