"""A runner that the kernel killed for its memory is told apart from one that crashed."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest
from sqlalchemy import select

from core.db import get_database
from core.fleet.models import MemoryLesson
from core.jobs import records
from tests.core.jobs.jobs import add_worker
from tests.workers.test_supervisor import read, run, settled, submit
from workers import oomkill, supervisor
from workers.context import Spec
from workers.oomkill import MACHINE, OomKills, count, own_counter

LESSON = {"tokens": 900, "labels": 400, "need_bytes": 10**9, "peak_bytes": 0, "fitted": None}
LIMIT = 48 * 1024**2  # less than torch takes to be imported


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Path]:
    with settled(tmp_path) as folder:
        with get_database().transaction() as session:
            add_worker(session, "gpu0@test")
        yield folder


@pytest.fixture
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A counter of kills that the test turns."""
    path = tmp_path / "memory.events"
    path.write_text("low 0\noom 3\noom_kill 2\n")
    monkeypatch.setattr(oomkill, "own_counter", lambda: path)
    return path


def killed(monkeypatch: pytest.MonkeyPatch, *, lesson=None, ceiling=None, turn=None) -> None:
    """The runner is killed -9 as soon as it is briefed."""

    def brief(self: supervisor.Attempt) -> None:
        self.ceiling = ceiling
        if lesson:
            self._take({"kind": "memory", "lesson": lesson})
        if turn is not None:
            turn.write_text("oom_kill 3\n")
        os.kill(self.runner.pid, signal.SIGKILL)
        self.runner.process.wait()

    monkeypatch.setattr(supervisor.Attempt, "_brief", brief)


def attempt_of(job_id: str):
    with get_database().reading() as session:
        return records.attempts(session, job_id)[-1]


def lessons() -> list[tuple[int, bool]]:
    with get_database().reading() as session:
        found = session.execute(select(MemoryLesson.need_bytes, MemoryLesson.fitted))
        return [tuple(row) for row in found]


def test_a_kill_while_the_counter_rose_is_of_class_oom_host(platform, counter, monkeypatch) -> None:
    killed(monkeypatch, turn=counter)
    job_id = submit()
    assert run(job_id) == "queued"
    attempt = attempt_of(job_id)
    assert (attempt.outcome, attempt.failure) == ("lost", "oom_host")
    assert "machine's memory was full" in attempt.message and "smaller model" in attempt.message
    assert read(job_id).barren_attempts == 1


def test_a_kill_while_it_stood_still_is_a_crash(platform, counter, monkeypatch) -> None:
    killed(monkeypatch)
    job_id = submit()
    run(job_id)
    assert attempt_of(job_id).failure == "crash"
    assert "signal 9" in attempt_of(job_id).message


def test_one_that_goes_on_without_end_fails_with_class_oom_host(
    platform, counter, monkeypatch
) -> None:
    job_id = submit()
    for kills in range(3):
        counter.write_text(f"oom_kill {kills}\n")
        killed(monkeypatch, turn=counter)
        with suppress(supervisor.JobFailed):
            run(job_id)
    job = read(job_id)
    assert (job.status, job.error["class"]) == ("failed", "oom_host")
    assert "smaller model" in job.error["message"]


def test_what_a_training_was_trying_is_a_lesson_and_not_held_against_it(
    platform, counter, monkeypatch
) -> None:
    killed(monkeypatch, lesson=LESSON, turn=counter)
    job_id = submit()
    run(job_id)
    assert lessons() == [(10**9, False)]
    assert read(job_id).barren_attempts == 0
    assert "smaller groups" in attempt_of(job_id).message


def test_a_training_that_could_try_no_less_is_held_back_like_any_other(
    platform, counter, monkeypatch
) -> None:
    killed(monkeypatch, lesson=LESSON, ceiling=10**9, turn=counter)
    job_id = submit()
    run(job_id)
    assert read(job_id).barren_attempts == 1


def test_a_kill_after_the_groups_have_fitted_is_not_theirs(platform, counter, monkeypatch) -> None:
    killed(monkeypatch, lesson=LESSON | {"fitted": True}, turn=counter)
    run(submit())
    assert lessons() == [(10**9, True)]


@pytest.fixture
def small_group(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A control group with little memory; where none can be made there is no test."""
    new = (oomkill.CGROUPS / "cgroup.controllers").exists()
    group = oomkill.CGROUPS / ("" if new else "memory") / f"tuneyard-test-{os.getpid()}"
    limit = "memory.max" if new else "memory.limit_in_bytes"
    counter = group / ("memory.events" if new else "memory.oom_control")
    try:
        group.mkdir()
        (group / limit).write_text(str(LIMIT))
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        pytest.skip(f"needs the right to make a control group of memory: {error}")
    monkeypatch.setattr(oomkill, "own_counter", lambda: counter)
    yield group
    group.rmdir()


def test_a_runner_that_the_kernel_really_kills_is_told_apart(
    platform, small_group, monkeypatch
) -> None:
    def brief(self: supervisor.Attempt) -> None:
        (small_group / "cgroup.procs").write_text(str(self.runner.pid))
        spec = Spec(self.claim.job_id, "generate", {}, {}, str(self.workdir))
        self.runner.channel.send(kind="job", spec=asdict(spec), fence_seconds=60)

    monkeypatch.setattr(supervisor.Attempt, "_brief", brief)
    job_id = submit()
    assert run(job_id) == "queued"
    assert attempt_of(job_id).failure == "oom_host", attempt_of(job_id).message


def test_the_nearest_counter_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oomkill, "CGROUPS", tmp_path)
    groups = tmp_path / "cgroup"
    groups.write_text("4:cpu,cpuacct:/a\n3:memory:/box\n0::/box/inner\n")
    assert own_counter(groups) == MACHINE
    old = tmp_path / "memory" / "box" / "memory.oom_control"
    old.parent.mkdir(parents=True)
    old.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n")
    assert own_counter(groups) == old and count(old) == 5
    new = tmp_path / "box" / "inner" / "memory.events"
    new.parent.mkdir(parents=True)
    new.write_text("oom_kill 7\n")
    assert own_counter(groups) == new
    kills = OomKills(new)
    assert not kills.rose()
    new.write_text("oom_kill 8\n")
    assert kills.rose()
    assert count(tmp_path / "gone") == 0
