"""The further processes of a job that works on several devices: children of its runner.

A rank is a runner whose supervisor is the first rank. It lies in the runner's process group, dies
with the runner, and nobody hears what it says but how it ended. Knows no torch and no recipe.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from workers.channel import Channel, ChannelClosed
from workers.context import Spec
from workers.spare import start_process

CAUSE_SECONDS = 2
"""Where a rank ends, the others meet a broken connection, perhaps before they know why."""


class Ranks:
    """Ranks 1 to `processes` - 1 of the runner's job; none in a runner that is a rank itself.

    One that fails or dies is the end of this process, which would wait for it in vain: with the
    same failure, by `send`, or in the same way, so that the supervisor sees what it would see of a
    runner alone.
    """

    def __init__(self, spec: Spec, send: Callable[..., None]) -> None:
        self._spec = spec
        self._send = send
        self._processes: list[subprocess.Popen] = []
        self._over = False

    def start(self) -> None:
        """To be called by the main thread: a child dies with the thread that started it."""
        if self._spec.rank:
            return
        for rank in range(1, self._spec.processes):
            ours, theirs = socket.socketpair()
            channel = Channel(ours)
            process = start_process(theirs, "gpu", leads_group=False)
            self._processes.append(process)
            spec = replace(self._spec, rank=rank, device=device_of(self._spec.device, rank))
            with suppress(ChannelClosed):  # dead already: whoever watches it tells
                channel.send(kind="job", spec=asdict(spec), fence_seconds=float("inf"))
            watch = threading.Thread(target=self._watch, args=(rank, process, channel), daemon=True)
            watch.start()

    def hear_cause(self) -> None:
        """After an error: if the end of another rank was its cause, this does not return."""
        if self._spec.processes > 1:
            time.sleep(CAUSE_SECONDS)

    def end(self) -> None:
        self._over = True
        for process in self._processes:
            process.kill()
            process.wait()

    def _watch(self, rank: int, process: subprocess.Popen, channel: Channel) -> None:
        last = last_word(channel)
        if self._over or (last is not None and last["kind"] == "result"):
            return
        if last is None:
            code = process.wait()
            print(f"rank {rank} ended with code {code}", file=sys.stderr, flush=True)
            end_like(code)
        with suppress(ChannelClosed):
            self._send(**last)
        os._exit(1)


def last_word(channel: Channel) -> dict[str, Any] | None:
    """The result or failure that a rank tells, None if it ends without; all else is dropped."""
    with suppress(ChannelClosed):
        while True:
            message = channel.receive(timeout=None)
            if message is not None and message["kind"] in ("result", "failed"):
                return message
    return None


def device_of(first: str, rank: int) -> str:
    """The device of a rank: the runner's own, or the GPU of that number."""
    return f"cuda:{rank}" if first.startswith("cuda") else first


def end_like(code: int) -> None:
    """End this process as one that ended with `code`, negative for a signal."""
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code or 1)
