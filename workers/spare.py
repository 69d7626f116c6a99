"""Runner processes, one kept waiting with the slow imports done. Knows nothing of jobs."""

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass

from workers.channel import Channel

RUNNER_ENVIRONMENT = {
    # Runners share the cores of a CPU machine. OpenMP's threads spin while they wait, for so long
    # by default that a training beside another process was twenty times slower; not at all costs a
    # third when it is alone. Measured; read when torch is imported.
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "20000",
    # A worker never reaches for the internet.
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass
class RunnerProcess:
    """A runner and the pipe to it. It leads its own process group."""

    process: subprocess.Popen
    channel: Channel

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """End the runner and whatever it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.channel.close()


def start_runner(queue: str) -> RunnerProcess:
    ours, theirs = socket.socketpair()
    command = [
        sys.executable,
        "-m",
        "workers.runner",
        str(theirs.fileno()),
        str(os.getpid()),
        queue,
    ]
    process = subprocess.Popen(
        command,
        pass_fds=[theirs.fileno()],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | RUNNER_ENVIRONMENT,
    )
    theirs.close()
    return RunnerProcess(process, Channel(ours))


class Spare:
    """At most one waiting runner of a queue."""

    def __init__(self) -> None:
        self._waiting: RunnerProcess | None = None
        self._lock = threading.Lock()

    def prepare(self, queue: str) -> None:
        """Start a spare unless one waits. Call it from the main thread: a runner dies with the
        thread that started it."""
        with self._lock:
            if self._waiting is None or self._waiting.process.poll() is not None:
                self._waiting = start_runner(queue)

    def take(self, queue: str) -> RunnerProcess:
        """The waiting runner, or a new one."""
        with self._lock:
            waiting, self._waiting = self._waiting, None
        if waiting is not None and waiting.process.poll() is None:
            return waiting
        return start_runner(queue)


SPARE = Spare()
