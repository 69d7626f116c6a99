"""Signals as something to wait for: a stop that was asked for, a child that ended."""

import os
import select
import signal
import time
from types import FrameType, TracebackType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SAME_WISH_SECONDS = 1.0
"""A terminal and a wrapper often both send a stop; within this time that is one wish."""


class Interrupts:
    """While entered, stop signals are counted instead of obeyed, and `wait` returns early on any.

    A wait for a fixed time would notice the death of a child late; the wake-up pipe does not.
    """

    def __init__(self) -> None:
        self.stops = 0
        self._last_stop = float("-inf")

    def __enter__(self) -> "Interrupts":
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        # What was ignored before us stays so: that is how nohup keeps a program alive.
        heeded = [n for n in STOP_SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._stop) for number in heeded}
        # Without a handler of its own SIGCHLD writes nothing to the wake-up pipe.
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def wait(self, seconds: float) -> None:
        """Sleep for `seconds`, or until a signal arrives."""
        if select.select([self._read], [], [], seconds)[0]:
            while len(os.read(self._read, 512)) == 512:
                pass

    def _stop(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._last_stop > SAME_WISH_SECONDS:
            self.stops += 1
        self._last_stop = now
