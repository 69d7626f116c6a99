"""A customer's endpoint: a real HTTP or HTTPS server on loopback that notes what comes."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Behaviour = Callable[[socket.socket], None]


@dataclass
class Receiver:
    """`behave` answers a connection whose request has been read."""

    port: int
    behave: Behaviour
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    """Request line, headers by lower-case name, body."""
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def take(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.settimeout(30)
            data = b""
            while b"\r\n\r\n" not in data:
                data += connection.recv(65536)
            head, _, body = data.partition(b"\r\n\r\n")
            line, *lines = head.decode().split("\r\n")
            pairs = (one.partition(": ") for one in lines)
            headers = {name.lower(): value for name, _, value in pairs}
            while len(body) < int(headers["content-length"]):
                body += connection.recv(65536)
            self.requests.append((line, headers, body))
            self.arrived.release()
            self.behave(connection)


def answering(code: int, *headers: str, body: bytes = b"ok") -> Behaviour:
    head = "\r\n".join([f"HTTP/1.1 {code} Fine", f"Content-Length: {len(body)}", *headers])
    return lambda connection: connection.sendall(head.encode() + b"\r\n\r\n" + body)


@contextmanager
def receiver(
    behave: Behaviour = answering(200), *, tls: ssl.SSLContext | None = None
) -> Iterator[Receiver]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = Receiver(server.getsockname()[1], behave)
        threading.Thread(target=_serve, args=(server, one, tls), daemon=True).start()
        yield one
        server.shutdown(socket.SHUT_RDWR)  # ends the accept that waits


def _serve(server: socket.socket, one: Receiver, tls: ssl.SSLContext | None) -> None:
    with suppress(OSError):
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_meet, args=(connection, one, tls), daemon=True).start()


def _meet(connection: socket.socket, one: Receiver, tls: ssl.SSLContext | None) -> None:
    with suppress(OSError):
        one.take(tls.wrap_socket(connection, server_side=True) if tls else connection)
