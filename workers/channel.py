"""One end of the pipe between a supervisor and its runner: JSON objects, a line each.

Knows nothing of what the messages mean.
"""

import json
import select
import socket
import struct
import threading
from typing import Any

SEND_SECONDS = 30


class ChannelClosed(Exception):
    """The other side is gone."""


class Channel:
    """Any thread may send; one thread receives."""

    def __init__(self, sock: socket.socket) -> None:
        # A frozen reader with a full buffer must not hold up the writer for ever.
        timeout = struct.pack("ll", SEND_SECONDS, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        self._sock = sock
        self._buffer = bytearray()
        self._sending = threading.Lock()

    def send(self, **message: Any) -> None:
        line = json.dumps(message, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        try:
            with self._sending:
                self._sock.sendall(line)
        except OSError as error:
            raise ChannelClosed(str(error)) from None

    def receive(self, timeout: float | None) -> dict[str, Any] | None:
        """The next message, None if none came within `timeout` seconds, or `ChannelClosed`."""
        while b"\n" not in self._buffer:
            try:
                ready, _, _ = select.select([self._sock], [], [], timeout)
                chunk = self._sock.recv(1 << 16) if ready else None
            except (OSError, ValueError) as error:  # ValueError: this side is closed
                raise ChannelClosed(str(error)) from None
            if chunk is None:
                return None
            if not chunk:
                raise ChannelClosed("end of file")
            self._buffer += chunk
        line, _, rest = self._buffer.partition(b"\n")
        self._buffer = bytearray(rest)
        return json.loads(line)

    def close(self) -> None:
        self._sock.close()
