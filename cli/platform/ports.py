"""Ports of this machine and whether something answers on them. Speaks plain HTTP to itself."""

import base64
import errno
import http.client
import json
import socket
from typing import Any

from cli.platform.errors import Refused


def take_port(host: str, port: int) -> int:
    """`port` if it can be listened on, a free one for 0; else `Refused`.

    It is free again when this returns: who is to use it binds it a moment later.
    """
    if not 0 <= port < 65536:
        raise Refused(f"--port {port}: a port is between 0 and 65535")
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As uvicorn does: what a closed connection still holds is not taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except (socket.gaierror, UnicodeError):  # the latter of what is too long for a name
        raise Refused(f"--host {host}: no such address") from None
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise Refused(f"--host {host}: not an address of this machine") from None
        raise Refused(
            f"port {port} of {host} can't be used ({error.strerror}); "
            "choose another by --port, or --port 0 for any free one"
        ) from None


def prefer_port(host: str, port: int) -> int:
    """`port`, or a free one if that is taken."""
    try:
        return take_port(host, port)
    except Refused:
        return take_port(host, 0)


def is_loopback(host: str) -> bool:
    return host == "localhost" or host == "::1" or host.startswith("127.")


def local_name(host: str) -> str:
    """What a client on this machine calls a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)


def http_url(host: str, port: int) -> str:
    name = local_name(host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def basic_auth(user: str, password: str) -> dict[str, str]:
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


def get(
    host: str, port: int, path: str, *, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """Status and body of a GET, past any proxy; status 0 if nobody answers within 5 s."""
    connection = http.client.HTTPConnection(local_name(host), port, timeout=5)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def get_json(host: str, port: int, path: str) -> dict[str, Any]:
    """The object that a GET answered, whatever its status; {} if there is none."""
    try:
        body = json.loads(get(host, port, path)[1])
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
