"""The runner says how its job ended, obeys, and stops itself when it hears nothing."""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from core.errors import InvalidInput, JobFailure
from workers.channel import Channel, ChannelClosed
from workers.context import Spec
from workers.runner import FENCED, classify
from workers.spare import Spare, start_runner


@pytest.fixture
def runner():
    started = start_runner("none")
    yield started
    started.kill()


def order(runner, tmp_path: Path, type: str, *, fence_seconds: float = 30, **params) -> None:
    spec = Spec(
        job_id="job_1", type=type, params=params, inputs={}, workdir=str(tmp_path), device="cpu"
    )
    runner.channel.send(kind="job", spec=asdict(spec), fence_seconds=fence_seconds)


def last(runner) -> dict:
    while True:
        message = runner.channel.receive(timeout=30)
        assert message is not None, "the runner says nothing"
        if message["kind"] in ("result", "failed", "stopped"):
            return message


def test_a_recipe_that_breaks_is_told_with_its_class(runner, tmp_path: Path) -> None:
    order(runner, tmp_path, "prepare")
    failure = last(runner)["failure"]
    assert failure["klass"] in ("user", "crash")
    assert runner.process.wait(timeout=10) == 0


def test_an_unknown_recipe_is_a_crash_with_a_traceback_in_the_log(runner, tmp_path: Path) -> None:
    order(runner, tmp_path, "no_such_type")
    assert last(runner)["failure"]["klass"] == "crash"
    assert "ModuleNotFoundError" in (tmp_path / "runner.log").read_text()


def test_a_runner_whose_supervisor_is_gone_ends(runner) -> None:
    runner.channel.close()
    assert runner.process.wait(timeout=20) == 0


@pytest.mark.parametrize(
    ("error", "klass"),
    [
        (JobFailure("data", "x"), "data"),
        (InvalidInput("x"), "data"),
        (MemoryError(), "oom_host"),
        (OSError(errno.ENOSPC, "full"), "disk"),
        (OSError(errno.EIO, "broken"), "crash"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA"), "oom_gpu"),
        (ZeroDivisionError("x"), "crash"),
    ],
)
def test_every_error_has_its_class(error: BaseException, klass: str) -> None:
    assert classify(error).klass == klass


FENCE = """
import socket, sys, time
from workers.channel import Channel
from workers.context import Context, Spec
from workers import runner
import threading
channel = Channel(socket.socket(fileno=int(sys.argv[1])))
context = Context(Spec("job_1", "x", {}, {}, sys.argv[2]), channel.send)
threading.Thread(target=runner.listen, args=(channel, context, 1.0), daemon=True).start()
channel.send(kind="ready")
while context.stop is None:
    time.sleep(0.05)
channel.send(kind="stopped", reason=context.stop)
"""


@pytest.fixture
def listener(tmp_path: Path):
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-c", FENCE, str(theirs.fileno()), str(tmp_path)],
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    channel = Channel(ours)
    assert channel.receive(timeout=20) == {"kind": "ready"}
    yield process, channel
    process.kill()
    process.wait()


def test_silence_of_the_supervisor_ends_the_runner(listener) -> None:
    process, _ = listener
    assert process.wait(timeout=10) == FENCED


def test_signs_of_life_keep_the_runner_going_and_a_stop_is_heard(listener) -> None:
    process, channel = listener
    for _ in range(8):
        channel.send(kind="alive")
        time.sleep(0.25)
    assert process.poll() is None
    channel.send(kind="stop", reason="cancel")
    assert channel.receive(timeout=5) == {"kind": "stopped", "reason": "cancel"}


def test_a_frozen_runner_ends_when_it_thaws_after_its_lease(listener) -> None:
    process, channel = listener
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(1.5)
    channel.send(kind="alive")  # came too late: the lease was over before it was read
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait(timeout=5) == FENCED


def test_a_spare_is_handed_out_once_and_replaced() -> None:
    spare = Spare()
    spare.prepare("none", "cuda")
    first = spare.take("none")
    second = spare.take("none")
    try:
        assert first.pid != second.pid
        assert first.process.poll() is None
    finally:
        first.kill()
        second.kill()


def test_a_killed_runner_closes_the_channel(runner) -> None:
    os.killpg(runner.pid, signal.SIGKILL)
    with pytest.raises(ChannelClosed):
        while runner.channel.receive(timeout=10) is not None:
            pass
