"""Runner processes, one kept waiting with the slow imports done. Knows nothing of jobs."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
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

FORK_SECONDS = 10
"""A template that has done its imports and does not answer for so long is given up."""
IMPORT_SECONDS = 180
"""One that is still at its imports after so long is given up."""


@dataclass
class RunnerProcess:
    """A runner and the pipe to it. It leads its own process group."""

    process: "subprocess.Popen | Forked"
    channel: Channel

    @property
    def pid(self) -> int | None:
        """None as long as it has not begun."""
        return self.process.pid

    def begun(self, timeout: float) -> bool:
        """Whether it is there, or was; waits up to `timeout` seconds for it."""
        return not isinstance(self.process, Forked) or self.process.begun(timeout)

    def kill(self) -> None:
        """End the runner and whatever it started. One that is not there yet finds, when it is, that
        nobody wants it."""
        if isinstance(self.process, Forked):
            self.process.kill_group()
        elif self.process.returncode is None:  # else its pid may be another's by now
            _kill_group(self.process.pid)
            self.process.wait()
        self.channel.close()


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


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
    """A process that runners are forked from (`workers.template`), some 20 ms of CPU each instead
    of seconds of imports. It dies with this one, and they die with it."""

    def __init__(self, queue: str) -> None:
        self._control, theirs = socket.socketpair()
        self._answers = Channel(self._control)
        self._process = start_process(theirs, queue, "template")
        self._ready = False
        self._promised: deque[Forked] = deque()
        self._codes: dict[int, int] = {}

    def lives(self) -> bool:
        return self._process.poll() is None

    def fork(self) -> RunnerProcess | None:
        """A runner: here and now, or while the imports are under way one that begins as soon as
        they are done. None if the template does not answer."""
        with suppress(ChannelClosed):
            while self.hear(0):
                pass
        if not self.lives():
            return None
        ours, theirs = socket.socketpair()
        promised = Forked(self)
        try:
            with theirs:
                socket.send_fds(self._control, [b"+"], [theirs.fileno()])
            self._promised.append(promised)
            if not self._ready or promised.begun(FORK_SECONDS):
                return RunnerProcess(promised, Channel(ours))
        except OSError:
            pass
        ours.close()
        self.give_up()
        return None

    def give_up(self) -> None:
        """A late answer would be taken for that to a later question."""
        self._process.kill()

    def end_of(self, pid: int, timeout: float | None) -> int | None:
        """How a runner ended; None if it did not within `timeout` seconds."""
        while pid not in self._codes:
            try:
                if not self.hear(timeout):
                    return None
            except ChannelClosed:
                return -signal.SIGKILL
        return self._codes.pop(pid)

    def hear(self, timeout: float | None) -> bool:
        """Take in the next thing that the template says; False if that is nothing so soon."""
        answer = self._answers.receive(timeout)
        if answer is None:
            return False
        if "ready" in answer:
            self._ready = True
        elif "code" in answer:
            self._codes[answer["pid"]] = answer["code"]
        else:
            self._codes.pop(answer["pid"], None)  # of one before it that nobody asked about
            self._promised.popleft().pid = answer["pid"]
        return True


class Forked:
    """A runner that a template forks, as `Popen` shows one that was started. `pid`: None as long
    as it is not there."""

    def __init__(self, template: Template) -> None:
        self.pid: int | None = None
        self.returncode: int | None = None
        self._template = template
        self._gives_up = time.monotonic() + IMPORT_SECONDS

    def begun(self, timeout: float | None) -> bool:
        """Whether it is there, or never will be; waits up to `timeout` seconds for it."""
        while self.pid is None and self.returncode is None:
            try:
                if not self._template.hear(timeout):  # first: it may have answered long ago
                    if time.monotonic() > self._gives_up:
                        self._template.give_up()
                    return False
            except ChannelClosed:
                self.returncode = -signal.SIGKILL
        return True

    def poll(self) -> int | None:
        return self._await(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._await(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("a forked runner", timeout or 0)
        return code

    def kill_group(self) -> None:
        """End it and whatever it started. Where the template has told its end that has been done,
        and its pid may be another's by now."""
        if self.pid is None or self.poll() is not None:
            return
        _kill_group(self.pid)
        if self._await(FORK_SECONDS) is None:  # a frozen template tells nothing
            self._template.give_up()
            self.returncode = -signal.SIGKILL

    def _await(self, timeout: float | None) -> int | None:
        if self.begun(timeout) and self.returncode is None:
            self.returncode = self._template.end_of(self.pid, timeout)
        return self.returncode


class Spare:
    """At most one waiting runner of a queue. Where jobs run on the CPU it is forked from a template
    that has done the imports; a GPU's driver does not survive a fork.

    Call it from the main thread: a runner dies with the thread that started it.
    """

    def __init__(self) -> None:
        self._waiting: RunnerProcess | None = None
        self._template: Template | None = None
        self._lock = threading.Lock()

    def prepare(self, queue: str, device: str) -> None:
        """See to it that one waits, or will when its imports are done."""
        with self._lock:
            if device == "cpu" and (self._template is None or not self._template.lives()):
                self._template = Template(queue)
            if self._waiting is None or self._waiting.process.poll() is not None:
                self._waiting = self._template.fork() if self._template else start_runner(queue)

    def take(self, queue: str) -> RunnerProcess:
        """The one that waits, or a new one."""
        with self._lock:
            waiting, self._waiting = self._waiting, None
            if waiting is not None and waiting.process.poll() is None:
                return waiting
            forked = self._template.fork() if self._template else None
        return forked or start_runner(queue)


SPARE = Spare()
