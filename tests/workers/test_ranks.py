"""The processes of one job live and die together. Real runners, and the ranks that they start."""

import os
import queue
import signal
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from core import failpoints
from tests.workers.recipes.training import EXACT, make_inputs, same, weights
from workers import ranks
from workers.context import Spec
from workers.ranks import device_of
from workers.spare import RunnerProcess, start_runner


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def start(fork):
    """Starts a runner of a training in two processes; whatever is left of it is killed."""
    started: list[RunnerProcess] = []

    def start(queue: str, workdir: Path, inputs=(), params=(), resume=None) -> RunnerProcess:
        workdir.mkdir(exist_ok=True)
        spec = Spec(
            job_id="job_1",
            type="train",
            params={"model": "tiny", **dict(params)},
            inputs={name: str(path) for name, path in dict(inputs).items()},
            workdir=str(workdir),
            threads=1,
            processes=2,
            resume=str(resume) if resume else None,
        )
        runner = fork() if queue == "gpu" else start_runner(queue)
        started.append(runner)
        runner.channel.send(kind="job", spec=asdict(spec), fence_seconds=600)
        return runner

    yield start
    for runner in started:
        runner.kill()


def rank_of(runner: RunnerProcess) -> psutil.Process:
    """The runner's further process, once it is there."""
    return wait_for(lambda: next(iter(psutil.Process(runner.pid).children()), None))


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def wait_for(what):
    deadline = time.monotonic() + 240
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def last_word(runner: RunnerProcess, *, seen=None) -> dict:
    while True:
        message = runner.channel.receive(timeout=240)
        assert message is not None, "the runner says nothing"
        if message["kind"] in ("result", "failed", "stopped") or (seen and seen(message)):
            return message


def test_a_rank_lies_in_the_runners_process_group_and_dies_with_it(start, tmp_path):
    runner = start("none", tmp_path)
    rank = rank_of(runner)
    assert os.getpgid(rank.pid) == runner.pid
    os.kill(runner.pid, signal.SIGKILL)
    wait_for(lambda: gone(rank))


def test_a_runner_dies_as_its_rank_did(start, tmp_path):
    """The supervisor sees what it would see of a runner alone: a crash, or the kernel's kill for
    want of memory."""
    runner = start("none", tmp_path)
    rank_of(runner).kill()
    assert runner.process.wait(timeout=240) == -signal.SIGKILL
    assert "rank 1 ended with code -9" in (tmp_path / "runner.log").read_text()


def test_a_rank_that_is_dead_before_it_has_its_job_ends_the_runner_all_the_same(
    tmp_path, monkeypatch
):
    """The order that cannot be sent is not the failure: it would look like a runner that is cut
    off."""
    really_start, codes = ranks.start_process, queue.Queue()

    def start_dead(*words, **options):
        process = really_start(*words, **options)
        process.kill()
        process.wait()
        return process

    def end_like(code):
        codes.put(code)
        threading.Event().wait()  # it returns no more than the real one does

    monkeypatch.setattr(ranks, "start_process", start_dead)
    monkeypatch.setattr(ranks, "end_like", end_like)
    spec = Spec(job_id="job_1", type="train", params={}, inputs={}, workdir=str(tmp_path))
    started = ranks.Ranks(replace(spec, processes=2), send=lambda **message: None)
    started.start()
    assert codes.get(timeout=60) == -signal.SIGKILL
    started.end()


def test_what_one_rank_fails_of_is_the_jobs_failure(start, inputs, tmp_path, monkeypatch):
    """Not what the others meet then, a connection that is broken."""
    (tmp_path / "train.step@2").write_text("break")
    monkeypatch.setenv(failpoints.VARIABLE, str(tmp_path))
    # One that is started, not forked: it has this environment.
    runner = start("none", tmp_path / "work", inputs, EXACT)
    rank = rank_of(runner)
    failure = last_word(runner)["failure"]
    assert failure["klass"] == "crash" and "failpoint train.step@2" in failure["message"]
    wait_for(lambda: gone(rank))


def test_a_training_goes_on_after_a_rank_was_killed_in_it(start, inputs, tmp_path):
    """And ends with the very weights of one that nothing struck."""
    params = {**EXACT, "save_steps": 2}
    runner = start("gpu", tmp_path / "whole", inputs, params)
    rank = rank_of(runner)
    last = last_word(runner)
    assert last["kind"] == "result", last
    assert last["result"]["resolved"]["processes"] == 2
    wait_for(lambda: gone(rank))

    struck = start("gpu", tmp_path / "struck", inputs, params)
    kept = last_word(struck, seen=lambda message: message["kind"] == "checkpoint")["path"]
    psutil.Process(struck.pid).children()[0].kill()
    assert struck.process.wait(timeout=240) == -signal.SIGKILL

    assert last_word(start("gpu", tmp_path / "final", inputs, params, kept))["kind"] == "result"
    assert same(weights(tmp_path / "final/out"), weights(tmp_path / "whole/out"))


@pytest.mark.parametrize(("first", "third"), [("cpu", "cpu"), ("cuda", "cuda:2")])
def test_each_rank_has_a_device_of_its_own(first, third):
    assert device_of(first, 2) == third
