"""Parts are started in order, restarted when they die, stopped in reverse, never left behind."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cli.platform import supervision
from cli.platform.errors import StartFailed
from cli.platform.interrupts import Interrupts
from cli.platform.processes import Part
from cli.platform.supervision import Supervisor

ROOT = Path(__file__).resolve().parents[3]


def part(
    tmp_path: Path,
    name: str,
    script: str,
    *,
    stage: int = 0,
    patience: float = 5,
    deaf: bool = False,
) -> Part:
    """A shell that notes its start and its end, and is ready once it has noted the start."""
    notes = tmp_path / "notes"
    started = tmp_path / f"{name}.started"
    trap = "trap '' TERM" if deaf else f"trap 'echo -{name} >> {notes}; exit 0' TERM"
    body = f"echo +{name} >> {notes}; touch {started}; {script}"
    return Part(
        name=name,
        stage=stage,
        command=("/bin/sh", "-c", f"{trap}; {body}"),
        env=dict(os.environ),
        folder=tmp_path,
        log=tmp_path / f"{name}.log",
        ready=started.exists,
        patience=patience,
    )


WAITING = "while true; do sleep 0.05; done"


@pytest.fixture
def interrupts():
    with Interrupts() as found:
        yield found


@pytest.fixture
def spoken():
    return []


@pytest.fixture
def supervisor(interrupts, spoken):
    made = Supervisor(interrupts, say=spoken.append)
    yield made
    made.stop()


def notes(tmp_path: Path) -> list[str]:
    return (tmp_path / "notes").read_text().split()


def watch_until(supervisor, interrupts, done, seconds: float = 10) -> None:
    """Supervise until `done()`; then ask for the stop as a terminal does."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        for member in supervisor._members:
            supervisor._tend(member)
        interrupts.wait(0.05)


def test_stages_stop_in_reverse(supervisor, tmp_path):
    supervisor.start([part(tmp_path, "broker", WAITING, stage=0)])
    supervisor.start([part(tmp_path, "api", WAITING, stage=1)])
    supervisor.stop()
    assert notes(tmp_path) == ["+broker", "+api", "-api", "-broker"]


def test_a_part_that_dies_is_started_again_and_that_is_said(
    supervisor, interrupts, spoken, tmp_path
):
    supervisor.start([part(tmp_path, "worker", WAITING)])
    first = supervisor.pids["worker"]
    os.kill(first, signal.SIGKILL)
    watch_until(supervisor, interrupts, lambda: supervisor.pids.get("worker", first) != first)
    assert "worker ended (killed by SIGKILL) and is started again in 0.5 s" in spoken[0]
    assert spoken[1] == f"worker runs again (pid {supervisor.pids['worker']})"


def test_each_death_is_followed_by_a_longer_pause(supervisor, interrupts, spoken, tmp_path):
    supervisor.start([part(tmp_path, "beat", "sleep 0.2; exit 3")])
    watch_until(supervisor, interrupts, lambda: sum("ended" in line for line in spoken) == 3)
    pauses = [line.split(" in ")[1].split(" s;")[0] for line in spoken if "ended" in line]
    assert pauses == ["0.5", "1", "2"]
    assert "(exit code 3)" in spoken[0]


def test_a_part_that_can_not_be_started_again_is_tried_later(
    supervisor, interrupts, spoken, tmp_path, monkeypatch
):
    supervisor.start([part(tmp_path, "api", WAITING)])
    first = supervisor.pids["api"]
    monkeypatch.setattr(supervision, "LAST_DELAY", 0.5)

    def fail(part):
        monkeypatch.undo()
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(supervision, "spawn", fail)
    os.kill(first, signal.SIGKILL)
    monkeypatch.setattr(supervision, "FIRST_DELAY", 0.1)
    watch_until(supervisor, interrupts, lambda: any("can't be" in line for line in spoken))
    assert "api can't be started ([Errno 11] Resource temporarily unavailable)" in spoken[1]
    supervisor._members[0].again_at = 0
    watch_until(supervisor, interrupts, lambda: supervisor.pids.get("api", first) != first)


def test_what_one_could_not_start_does_not_leave_the_others_behind(
    supervisor, tmp_path, monkeypatch
):
    good = part(tmp_path, "api", WAITING)
    bad = Part(**{**vars(part(tmp_path, "beat", WAITING)), "command": (str(tmp_path / "none"),)})
    with pytest.raises(FileNotFoundError):
        supervisor.start([good, bad])
    assert set(supervisor.pids) == {"api"}


def test_a_part_that_is_not_ready_says_what_it_waits_for(supervisor, tmp_path, monkeypatch):
    monkeypatch.setattr(supervision, "START_SECONDS", 0.3)
    slow = part(tmp_path, "api", WAITING)
    ways = {"ready": lambda: False, "missing": lambda: " (storage is away)"}
    with pytest.raises(StartFailed, match=r"not ready after 0.3 s \(storage is away\); its log"):
        supervisor.start([Part(**{**vars(slow), **ways})])


def test_whoever_waits_for_long_is_told_for_what(supervisor, spoken, tmp_path, monkeypatch):
    monkeypatch.setattr(supervision, "TELL_SECONDS", 0.1)
    assert supervisor.run(part(tmp_path, "migrate", "sleep 1; exit 0")) == 0
    assert spoken == [f"migrate takes its time; its log: {tmp_path / 'migrate.log'}"]


def test_what_a_dead_part_leaves_behind_is_killed(supervisor, interrupts, spoken, tmp_path):
    orphan = f"setsid sh -c 'echo $$ > {tmp_path}/orphan; exec sleep 600' & {WAITING}"
    supervisor.start([part(tmp_path, "worker", orphan)])
    wait_for(lambda: (tmp_path / "orphan").exists() and (tmp_path / "orphan").read_text())
    pid = int((tmp_path / "orphan").read_text())
    os.kill(supervisor.pids["worker"], signal.SIGKILL)
    watch_until(supervisor, interrupts, lambda: bool(spoken))
    assert gone(pid)


def test_a_part_that_ignores_the_stop_is_killed(supervisor, spoken, tmp_path):
    supervisor.start([part(tmp_path, "deaf", WAITING, patience=0.3, deaf=True)])
    pid = supervisor.pids["deaf"]
    supervisor.stop()
    assert spoken == ["deaf has not stopped and is killed"]
    assert gone(pid)


def test_a_part_that_does_not_start_is_named_with_its_last_words(supervisor, tmp_path):
    broken = part(tmp_path, "api", "exit 0")
    broken = Part(**{**vars(broken), "command": ("/bin/sh", "-c", "echo no such module; exit 4")})
    with pytest.raises(StartFailed, match=r"api did not start \(exit code 4\): no such module"):
        supervisor.start([broken])


def test_a_stop_during_the_start_ends_it(supervisor, interrupts, tmp_path):
    slow = part(tmp_path, "slow", WAITING)
    slow = Part(**{**vars(slow), "ready": lambda: os.kill(os.getpid(), signal.SIGTERM)})
    assert supervisor.start([slow]) is False
    assert interrupts.stops == 1


def test_nothing_outlives_a_killed_supervisor(tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.cli.platform.test_supervision import WAITING, part
from cli.platform.interrupts import Interrupts
from cli.platform.supervision import Supervisor
from pathlib import Path
with Interrupts() as interrupts:
    supervisor = Supervisor(interrupts, say=print)
    supervisor.start([part(Path({str(tmp_path)!r}), "worker", {WAITING!r})])
    print(supervisor.pids["worker"], flush=True)
    supervisor.watch()
"""
    command = [sys.executable, "-c", code]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    pid = int(parent.stdout.readline())
    assert psutil.pid_exists(pid)
    parent.kill()
    parent.wait()
    wait_for(lambda: gone(pid), seconds=2)
    parent.stdout.close()


def gone(pid: int) -> bool:
    """Nothing runs under that number; init may not have fetched its exit code yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for(done, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)
