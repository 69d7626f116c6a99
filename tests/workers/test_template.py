"""Runners forked from a template are runners like any other, only there at once."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from workers.channel import ChannelClosed
from workers.context import Spec
from workers.spare import Forked, RunnerProcess, Spare, Template, start_runner


@pytest.fixture
def template() -> Iterator[Template]:
    made = Template("cpu")
    yield made
    made._process.kill()
    made._process.wait()


def fork(template: Template) -> RunnerProcess:
    """A runner that is there."""
    runner = template.fork()
    assert runner is not None and runner.begun(60)
    return runner


def last(runner: RunnerProcess) -> dict:
    while True:
        message = runner.channel.receive(timeout=30)
        assert message is not None, "the runner says nothing"
        if message["kind"] in ("result", "failed", "stopped"):
            return message


def lives(pid: int) -> bool:
    """Not gone, nor a zombie that nobody has reaped."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def gone(pid: int) -> bool:
    """Soon at least."""
    deadline = time.monotonic() + 10
    while lives(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_forked_runner_does_a_job_in_its_own_group_and_ends(
    template: Template, tmp_path: Path
) -> None:
    runner = fork(template)
    assert os.getpgid(runner.pid) == runner.pid
    spec = Spec("job_1", "no_such_type", {}, {}, str(tmp_path), device="cpu")
    runner.channel.send(kind="job", spec=asdict(spec), fence_seconds=30)
    assert last(runner)["failure"]["klass"] == "crash"
    assert runner.process.wait(timeout=20) == 0
    assert "ModuleNotFoundError" in (tmp_path / "runner.log").read_text()
    runner.kill()  # it is gone already: nothing happens


def test_each_fork_is_a_process_of_its_own_and_its_end_is_told_by_pid(template: Template) -> None:
    first, second = fork(template), fork(template)
    os.kill(second.pid, signal.SIGSEGV)
    first.channel.close()
    assert second.process.wait(timeout=20) == -signal.SIGSEGV
    assert first.process.wait(timeout=20) == 0


def test_a_killed_forked_runner_closes_the_channel_and_shows_its_signal(
    template: Template,
) -> None:
    runner = fork(template)
    assert runner.process.poll() is None
    os.killpg(runner.pid, signal.SIGKILL)
    with pytest.raises(ChannelClosed):
        while runner.channel.receive(timeout=10) is not None:
            pass
    runner.kill()
    assert runner.process.returncode == -signal.SIGKILL


def test_runners_die_with_their_template(template: Template) -> None:
    runner = fork(template)
    template._process.kill()
    process = psutil.Process(runner.pid)
    psutil.wait_procs([process], timeout=10)
    assert not psutil.pid_exists(runner.pid)
    assert runner.process.wait(timeout=10) == -signal.SIGKILL


def test_a_template_ends_when_its_supervisor_lets_go(template: Template) -> None:
    fork(template).kill()
    template._control.close()
    assert template._process.wait(timeout=20) == 0


def test_a_frozen_template_is_given_up_and_replaced(
    template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork(template).kill()
    monkeypatch.setattr("workers.spare.FORK_SECONDS", 0.5)
    template._process.send_signal(signal.SIGSTOP)
    assert template.fork() is None
    assert template._process.wait(timeout=10) == -signal.SIGKILL
    assert template.fork() is None


def test_a_runner_whose_template_is_frozen_is_killed_all_the_same(
    template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.spare.FORK_SECONDS", 0.5)
    runner = fork(template)
    template._process.send_signal(signal.SIGSTOP)
    killing = threading.Thread(target=runner.kill, daemon=True)
    killing.start()
    killing.join(20)
    assert not killing.is_alive(), "it waits for what a frozen template does not tell"
    assert runner.process.returncode == -signal.SIGKILL and not lives(runner.pid)
    assert template._process.wait(timeout=10) == -signal.SIGKILL


@pytest.mark.parametrize("heard", [True, False], ids=["heard of", "told"])
def test_the_pid_of_a_runner_that_ended_is_not_killed(
    template: Template, monkeypatch: pytest.MonkeyPatch, heard: bool
) -> None:
    """It may be another's by now."""
    runner, killed = fork(template), []
    runner.channel.close()
    if heard:
        assert runner.process.wait(timeout=20) == 0
    else:
        while psutil.pid_exists(runner.pid):  # until the template has reaped it
            time.sleep(0.02)
        time.sleep(0.2)  # and told so
    monkeypatch.setattr("os.killpg", lambda *group: killed.append(group))
    runner.kill()
    assert killed == [] and runner.process.returncode == 0


def test_the_pid_of_a_started_runner_that_was_reaped_is_not_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runner, killed = start_runner("none"), []
    runner.channel.close()
    assert runner.process.wait(timeout=60) == 0
    monkeypatch.setattr("os.killpg", lambda *group: killed.append(group))
    runner.kill()
    assert killed == []


# A template of runners that start a process of their own and end.
LEAVES = """
import socket, subprocess, sys
from workers.template import fork_on_request

def serve(pipe):
    pipe.sendall(b"%d" % subprocess.Popen(["sleep", "60"]).pid)
    pipe.recv(1)

fork_on_request(socket.socket(fileno=int(sys.argv[1])), serve)
"""


def test_what_a_runner_started_does_not_outlive_it() -> None:
    ours, theirs = socket.socketpair()
    pipe, runners = socket.socketpair()
    command = [sys.executable, "-c", LEAVES, str(theirs.fileno())]
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    try:
        with theirs, runners:
            socket.send_fds(ours, [b"+"], [runners.fileno()])
        pipe.settimeout(30)
        left = int(pipe.recv(20))
        assert lives(left)
        pipe.sendall(b".")
        assert gone(left)
    finally:
        process.kill()
        process.wait()


def test_a_runner_asked_for_during_the_imports_comes_when_they_are_done(
    template: Template,
) -> None:
    early = template.fork()
    assert early is not None and early.pid is None and early.process.poll() is None
    assert early.begun(60) and early.pid != fork(template).pid


def test_one_that_was_given_up_before_it_came_ends_by_itself(template: Template) -> None:
    early = template.fork()
    early.kill()
    assert early.begun(60) and early.process.wait(timeout=20) == 0


def test_one_whose_template_dies_before_it_came_counts_as_killed(template: Template) -> None:
    early = template.fork()
    template._process.kill()
    assert early.begun(20) and early.pid is None
    assert early.process.poll() == -signal.SIGKILL


def test_one_that_came_long_before_it_is_asked_for_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is idle for long listens to nothing that its template says."""
    monkeypatch.setattr("workers.spare.IMPORT_SECONDS", 0.5)
    spare = Spare()
    spare.prepare("none", "cpu")
    time.sleep(3)
    runner = spare.take("none")
    assert runner.begun(60)
    time.sleep(0.5)
    assert runner.process.poll() is None and spare._template.lives()
    runner.kill()
    spare._template.give_up()


def test_imports_that_never_end_are_given_up(
    template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.spare.IMPORT_SECONDS", 0.5)
    template._process.send_signal(signal.SIGSTOP)
    early = template.fork()
    assert not early.begun(1)
    assert early.begun(20) and early.process.poll() == -signal.SIGKILL


def test_where_jobs_run_on_the_cpu_the_spare_is_a_template() -> None:
    spare = Spare()
    first = spare.take("cpu")
    assert isinstance(first.process, subprocess.Popen), "nothing is prepared: one is started"
    spare.prepare("cpu", "cpu")
    waiting, other = spare.take("cpu"), spare.take("cpu")
    for one in (waiting, other):
        assert isinstance(one.process, Forked) and one.begun(60)
    assert waiting.pid != other.pid
    for one in (first, waiting, other):
        one.kill()
    spare._template._process.kill()
    spare._template._process.wait()
