"""The parent's end of one sandbox process: start, ask, kill. Knows pipes and clocks, no SQL."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from core.errors import Unavailable

_START_SECONDS = 20.0  # a swamped machine is slow, not broken
_CHUNK = 1 << 16


class TooSlow(Exception):
    """No answer in time; the process was killed."""


class TooMuch(Exception):
    """The answer passes the bound; the process was killed."""


class Died(Exception):
    """The process ended instead of answering; `signal` is what killed it, or 0."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"the SQL sandbox ended by signal {signal_number}")
        self.signal = signal_number


class SandboxProcess:
    """One child in a session of its own. It dies with the thread that created this object.

    It is a `script` of this package, which hears its configuration by its pipe. `greeting` is what
    it says of itself then.
    """

    def __init__(
        self,
        script: Path,
        config: dict[str, Any],
        *,
        answer_bytes: int,
        options: tuple[str, ...] = (),
    ) -> None:
        self._answer_bytes = answer_bytes
        self._popen = subprocess.Popen(
            [sys.executable, "-I", *options, "-X", "utf8", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # No secret of ours within reach of the SQL; nor what lies in our user's folder.
            env={"HOME": "/nonexistent"},
            cwd="/",
            bufsize=0,
            start_new_session=True,
        )
        os.set_blocking(self._popen.stdin.fileno(), False)
        os.set_blocking(self._popen.stdout.fileno(), False)
        try:
            self.greeting = self.ask(config | {"parent": os.getpid()}, seconds=_START_SECONDS)
        except (TooSlow, Died) as error:
            self.kill()
            raise Unavailable(f"the SQL sandbox did not start: {error}") from error

    @property
    def pid(self) -> int:
        return self._popen.pid

    def alive(self) -> bool:
        return self._popen.poll() is None

    def ask(self, message: dict, *, seconds: float) -> dict:
        """Send one line, wait for one. After any exception the process is dead."""
        deadline = time.monotonic() + seconds
        try:
            self._send(json.dumps(message, ensure_ascii=False).encode() + b"\n", deadline)
            return json.loads(self._receive(deadline))
        except (BrokenPipeError, ConnectionResetError):
            raise Died(self._reap()) from None
        except BaseException:  # KeyboardInterrupt too: a half-read pipe must never be used again
            self.kill()
            raise

    def kill(self) -> None:
        """End the process and wait for it. May be called twice."""
        if self._popen.poll() is None:
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._reap()

    def _reap(self) -> int:
        self._popen.stdin.close()
        self._popen.stdout.close()
        return max(0, -self._popen.wait())

    def _send(self, data: bytes, deadline: float) -> None:
        pipe = self._popen.stdin.fileno()
        while data:
            self._wait(pipe, select.POLLOUT, deadline)
            data = data[os.write(pipe, data[:_CHUNK]) :]

    def _receive(self, deadline: float) -> bytes:
        pipe = self._popen.stdout.fileno()
        parts: list[bytes] = []
        size = 0
        while not parts or not parts[-1].endswith(b"\n"):
            self._wait(pipe, select.POLLIN, deadline)
            parts.append(os.read(pipe, _CHUNK))
            size += len(parts[-1])
            if not parts[-1]:
                raise BrokenPipeError
            if size > self._answer_bytes:
                raise TooMuch
        return b"".join(parts)

    @staticmethod
    def _wait(pipe: int, event: int, deadline: float) -> None:
        poll = select.poll()  # not select(): file numbers of a server pass 1024
        poll.register(pipe, event)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TooSlow("no answer in time")
