"""Runner processes, one kept waiting with the slow imports done. Knows nothing of jobs."""

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass

from workers.channel import Channel, ChannelClosed
from workers.openmp import OPENMP

RUNNER_ENVIRONMENT = {
    **OPENMP,
    # A worker never reaches for the internet.
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


RUNNER = "workers.runner"
"""The module that runners are started with."""

FORKED = ("cpu",)
"""Queues whose runners are forked from a template that has done the imports: some 20 ms of CPU
instead of a second. Not those of a GPU, whose driver does not survive a fork."""

FORK_SECONDS = 10


@dataclass
class RunnerProcess:
    """A runner and the pipe to it. It leads its own process group."""

    process: "subprocess.Popen | Forked"
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
    return RunnerProcess(start_process(theirs, queue), Channel(ours))


def start_process(theirs: socket.socket, *words: str, leads_group: bool = True) -> subprocess.Popen:
    """Start the runner's module with one end of a pipe, which from then on is its alone."""
    command = [sys.executable, "-m", RUNNER, str(theirs.fileno()), str(os.getpid()), *words]
    with theirs:
        return subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            start_new_session=leads_group,
            stdin=subprocess.DEVNULL,
            env=os.environ | RUNNER_ENVIRONMENT,
        )


class Template:
    """A process that runners are forked from (`workers.template`). It dies with this one, and they
    die with it."""

    def __init__(self, queue: str) -> None:
        self._control, theirs = socket.socketpair()
        self._answers = Channel(self._control)
        self._process = start_process(theirs, queue, "template")
        self._ready = False
        self._codes: dict[int, int] = {}

    def lives(self) -> bool:
        return self._process.poll() is None

    def fork(self) -> RunnerProcess | None:
        """A runner; None while the imports are not done, or if the template does not answer."""
        with suppress(ChannelClosed):
            while self._hear(0) is not None:
                pass
        if not self._ready or not self.lives():
            return None
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self._control, [b"+"], [theirs.fileno()])
            while (answer := self._hear(FORK_SECONDS)) is not None:
                if "code" not in answer:
                    return RunnerProcess(Forked(answer["pid"], self), Channel(ours))
        except (OSError, ChannelClosed):
            pass
        ours.close()
        self._process.kill()  # a late answer would be taken for that to the next question
        return None

    def end_of(self, pid: int, timeout: float | None) -> int | None:
        """How a runner ended; None if it did not within `timeout` seconds."""
        while pid not in self._codes:
            try:
                if self._hear(timeout) is None:
                    return None
            except ChannelClosed:
                return -signal.SIGKILL
        return self._codes.pop(pid)

    def _hear(self, timeout: float | None) -> dict[str, int] | None:
        answer = self._answers.receive(timeout)
        if answer is not None and "ready" in answer:
            self._ready = True
        elif answer is not None and "code" in answer:
            self._codes[answer["pid"]] = answer["code"]
        return answer


class Forked:
    """A runner that a template has forked, as `Popen` shows one that was started."""

    def __init__(self, pid: int, template: Template) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._template = template

    def poll(self) -> int | None:
        return self._await(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._await(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("a forked runner", timeout or 0)
        return code

    def _await(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            self.returncode = self._template.end_of(self.pid, timeout)
        return self.returncode


class Spare:
    """At most one waiting runner of a queue, or the template of its runners.

    Call it from the main thread: a runner dies with the thread that started it.
    """

    def __init__(self) -> None:
        self._waiting: RunnerProcess | None = None
        self._template: Template | None = None
        self._lock = threading.Lock()

    def prepare(self, queue: str) -> None:
        """Start a spare or a template unless there is one."""
        with self._lock:
            if queue in FORKED:
                if self._template is None or not self._template.lives():
                    self._template = Template(queue)
            elif self._waiting is None or self._waiting.process.poll() is not None:
                self._waiting = start_runner(queue)

    def take(self, queue: str) -> RunnerProcess:
        """A runner that has done its imports, or a new one."""
        with self._lock:
            if self._template is not None and (forked := self._template.fork()) is not None:
                return forked
            waiting, self._waiting = self._waiting, None
        if waiting is not None and waiting.process.poll() is None:
            return waiting
        return start_runner(queue)


SPARE = Spare()
