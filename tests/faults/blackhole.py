"""A TCP proxy that turns bad: it falls silent without closing, drops packets, or hangs up.

Threads in the test's process. What a half-open connection looks like to a client depends on who
answers for it: `silent` is a peer whose kernel still takes everything (a frozen server, a load
balancer whose backend is gone), `dropped` a peer whose machine or cable is gone: no packet is
acknowledged any more.
"""

import contextlib
import ctypes
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SO_ATTACH_FILTER = 26
SO_DETACH_FILTER = 27
LONG = 3600


class Blackhole:
    """Forwards to what `connect` opens, until told otherwise."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open = threading.Event()
        self._open.set()
        self._refuses = False
        self._ended = False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    # -- what a test does ------------------------------------------------------------------------

    def silent(self) -> None:
        """Nothing is forwarded any more and nothing is closed; connecting works, and that is all.
        A client that closes is not followed either."""
        self._open.clear()

    def dropped(self) -> None:
        """As `silent`, and no packet of a client is acknowledged: not even connecting works."""
        self.silent()
        with self._lock:
            for sock in (self._listener, *(client for client, _ in self._pairs)):
                _drop_packets(sock)

    def hung_up(self) -> None:
        """Connections are closed, new ones are closed at once."""
        self._refuses = True
        self._open.set()
        self._close_pairs()

    def whole(self) -> None:
        """Forward again. Connections from before are closed, as after a failover."""
        self._close_pairs()
        _take_packets(self._listener)
        self._refuses = False
        self._open.set()

    def close(self) -> None:
        self._ended = True
        self._open.set()
        self._listener.close()
        self._close_pairs()

    # -- threads ---------------------------------------------------------------------------------

    def _accept(self) -> None:
        while not self._ended:
            self._open.wait(LONG)
            try:
                ready, _, _ = select.select([self._listener], [], [], 0.2)
                if not ready or not self._open.is_set():
                    continue
                client, _ = self._listener.accept()
            except (OSError, ValueError):
                return  # closed
            if self._refuses:
                client.close()
                continue
            try:
                server = self._connect()
            except OSError:
                client.close()
                continue
            with self._lock:
                self._pairs.append((client, server))
            threading.Thread(target=self._forward, args=(client, server), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        """Both ways, until both sides are done."""
        back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
        back.start()
        self._pump(client, server)
        back.join()
        with self._lock:
            if (client, server) in self._pairs:
                self._pairs.remove((client, server))
        client.close()
        server.close()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            while True:
                ready, _, _ = select.select([source], [], [], 0.2)
                self._open.wait(LONG)
                if not ready:
                    continue
                data = source.recv(1 << 16)
                self._open.wait(LONG)
                if not data:
                    break
                sink.sendall(data)
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _close_pairs(self) -> None:
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for sock in pair:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
                sock.close()


def _drop_packets(sock: socket.socket) -> None:
    """A socket filter of one instruction, `return 0`: the kernel throws away what arrives before
    TCP sees it, so that nothing is acknowledged."""
    code = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HL", 1, ctypes.addressof(code))
    with contextlib.suppress(OSError):  # closed by now
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def _take_packets(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # none was attached
        sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)


@contextmanager
def blackhole(*, port: int | None = None, path: str | None = None) -> Iterator[Blackhole]:
    """In front of a loopback port or a unix socket."""

    def connect() -> socket.socket:
        if path is None:
            return socket.create_connection(("127.0.0.1", port), timeout=None)
        server = socket.socket(socket.AF_UNIX)
        server.connect(path)
        return server

    made = Blackhole(connect)
    try:
        yield made
    finally:
        made.close()
