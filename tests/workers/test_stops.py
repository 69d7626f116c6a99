"""Wishes, limits and failures at every moment of an attempt: real runners that count, a supervisor
in this process, and exactly one end for each."""

import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from s3fs import S3FileSystem
from sqlalchemy import func, select

from core import failpoints
from core.accounts.service import ensure_project
from core.artifacts.models import Artifact
from core.db import db_now, get_database
from core.jobs import records, service, types
from core.jobs.models import Attempt, Job, JobEvent
from core.storage import Storage, get_storage
from tests.core.jobs.jobs import add_job
from tests.workers.counting import COUNT, CountingSpare, CountParams
from tests.workers.test_supervisor import children, in_background, read, run, settled
from workers import supervisor
from workers.drain import DRAIN
from workers.supervisor import JobCancelled, JobFailed

LONG = {"steps": 2000, "every": 5, "seconds": 0.02}


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(types, "TYPES", (*types.TYPES, COUNT))
    monkeypatch.setattr(supervisor, "SPARE", CountingSpare())
    yield
    DRAIN.clear()


@pytest.fixture
def platform(tmp_path: Path, counting: None) -> Iterator[Path]:
    with settled(tmp_path) as folder:
        (folder / "storage").mkdir()
        yield folder


@pytest.fixture
def silent_storage(
    tmp_path: Path, counting: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """An object store whose server takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        S3FileSystem.clear_instance_cache()  # one of another test has that one's server
        with settled(tmp_path, storage_url="s3://tuneyard/silent") as folder:
            yield folder
        S3FileSystem.clear_instance_cache()


@pytest.fixture
def arm(platform: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    folder = platform / "failpoints"
    folder.mkdir()
    monkeypatch.setattr(failpoints, "_folder", str(folder))

    def write(name: str, action: str) -> Path:
        (folder / name).write_text(action, encoding="utf-8")
        return folder

    return write


def submit(**params: object) -> str:
    """A job that counts."""
    limit = params.pop("time_limit_seconds", 3600)
    with get_database().transaction() as session:
        project = ensure_project(session, "default").id
        plain = CountParams(**params).model_dump(mode="json")
        job = add_job(session, project, type="count", queue="none", params=plain)
        job.time_limit_seconds = limit
        return job.id


def wish(what: str, job_id: str) -> None:
    if what == "drain":
        DRAIN.set()
        return
    ask = {"cancel": service.request_cancel, "pause": service.request_pause}[what]
    with get_database().transaction() as session:
        ask(session, read(job_id).project_id, job_id)


def wait(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def steps(job_id: str) -> list[int]:
    """Of the usable checkpoints, newest first."""
    with get_database().reading() as session:
        return [one.step for one in records.usable_checkpoints(session, job_id)]


def attempts(job_id: str) -> list[Attempt]:
    with get_database().reading() as session:
        return records.attempts(session, job_id)


def left_running(job_id: str) -> list[str]:
    """The states that a job went to after its first claim."""
    with get_database().reading() as session:
        events = session.scalars(
            select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.id)
        )
        states = [event.data["status"] for event in events if "status" in event.data]
    return states[states.index("running") + 1 :]


END = {"cancel": "cancelled", "pause": "paused", "drain": "queued"}
OUTCOME = {"cancel": "cancelled", "pause": "paused", "drain": "drained"}


def assert_ended(job_id: str, what: str) -> None:
    """Once, as wished, and without a count against the job."""
    job = read(job_id)
    assert left_running(job_id) == [END[what]]
    assert job.status == END[what]
    assert [one.outcome for one in attempts(job_id)] == [OUTCOME[what]]
    assert (job.barren_attempts, job.retries) == (0, 0)
    assert children() == []


# -- while the runner works -----------------------------------------------------------------------


@pytest.mark.parametrize("what", ["pause", "drain"])
def test_a_stopped_job_frees_its_runner_and_goes_on_from_the_step_it_had_reached(
    platform: Path, what: str
) -> None:
    job_id = submit(steps=120, every=100, seconds=0.05)
    thread, ended = in_background(job_id)
    wait(lambda: (read(job_id).progress or {}).get("step", 0) > 5)
    wish(what, job_id)
    thread.join(timeout=60)
    assert ended == [END[what]]
    assert_ended(job_id, what)
    [reached] = steps(job_id)
    assert reached != 100, "it saved where it was, not at the next regular step"

    if what == "pause":
        assert run(job_id) == "not claimed", "a paused job is held"
        with get_database().transaction() as session:
            service.resume(session, read(job_id).project_id, job_id)
    DRAIN.clear()
    assert run(job_id) == "succeeded"
    job = read(job_id)
    assert job.result == {"begun": reached, "counted": 120}
    first, second = attempts(job_id)
    assert (first.outcome, second.outcome) == (OUTCOME[what], "succeeded")
    assert second.resumed_from_step == reached
    with get_database().reading() as session:
        rows = list(records.done_rows(session, job_id))
    assert [row for row, _ in rows] == list(range(1, 121)), "no row is missing"


def test_a_cancel_beats_a_pause_that_is_under_way(platform: Path, arm: Callable) -> None:
    arm("attempt.checkpoint", "sleep 3")
    job_id = submit(**LONG)
    thread, ended = in_background(job_id)
    wait(lambda: not (platform / "failpoints/attempt.checkpoint").exists())
    wish("pause", job_id)
    wish("cancel", job_id)
    thread.join(timeout=60)
    assert isinstance(ended[0], JobCancelled)
    assert_ended(job_id, "cancel")


# -- while something is saved ---------------------------------------------------------------------


@pytest.mark.parametrize("what", ["cancel", "pause", "drain"])
def test_a_wish_while_a_checkpoint_is_saved_leads_to_one_end(
    platform: Path, arm: Callable, what: str
) -> None:
    arm("attempt.checkpoint", "sleep 2")
    job_id = submit(**LONG, keep=1000)
    thread, _ = in_background(job_id)
    wait(lambda: not (platform / "failpoints/attempt.checkpoint").exists())
    wish(what, job_id)
    thread.join(timeout=60)
    assert_ended(job_id, what)
    assert steps(job_id)[-1] == 5, "the checkpoint that was being saved is kept"


@pytest.mark.parametrize("what", ["cancel", "pause", "drain"])
def test_a_wish_while_success_is_recorded_comes_too_late(
    platform: Path, arm: Callable, what: str
) -> None:
    arm("attempt.finish", "sleep 2")
    job_id = submit(steps=3)
    thread, ended = in_background(job_id)
    wait(lambda: not (platform / "failpoints/attempt.finish").exists())
    wish(what, job_id)
    thread.join(timeout=60)
    assert ended == ["succeeded"]
    assert left_running(job_id) == ["succeeded"]
    assert [one.outcome for one in attempts(job_id)] == ["succeeded"]
    with get_database().reading() as session:
        assert session.scalar(select(func.count()).select_from(Artifact)) == 1


# -- while a storage hangs ------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["cancel", "pause", "drain"])
def test_a_wish_is_heeded_while_the_inputs_are_loaded(silent_storage: Path, what: str) -> None:
    job_id = submit(inputs={"data": "far/away"})
    thread, _ = in_background(job_id)
    wait(lambda: read(job_id).status == "running")
    wish(what, job_id)
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert_ended(job_id, what)


@pytest.mark.parametrize("what", ["cancel", "pause", "drain"])
def test_a_wish_is_heeded_while_the_result_is_stored(silent_storage: Path, what: str) -> None:
    job_id = submit(steps=3)
    thread, _ = in_background(job_id)
    wait(lambda: (read(job_id).progress or {}).get("step") == 3)
    wish(what, job_id)
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert_ended(job_id, what)


@pytest.mark.parametrize("where", ["inputs", "result"])
def test_the_time_limit_holds_while_files_are_moved(silent_storage: Path, where: str) -> None:
    # Long enough for a runner to start and to count to three on a busy machine.
    inputs = {"data": "far/away"} if where == "inputs" else {}
    job_id = submit(steps=3, inputs=inputs, time_limit_seconds=2 if inputs else 15)
    with pytest.raises(JobFailed, match="time limit"):
        run(job_id)
    job = read(job_id)
    assert (job.status, job.error["class"]) == ("failed", "timeout")


def test_the_time_limit_counts_what_earlier_attempts_took(platform: Path) -> None:
    job_id = submit(**LONG, time_limit_seconds=60)
    with get_database().transaction() as session:
        held = service.claim(session, job_id, "gpu1@other")
        [attempt] = records.attempts(session, job_id)
        attempt.started_at = db_now() - 61
        session.flush()
        service.requeue(session, held, outcome="drained", message="x")
    with pytest.raises(JobFailed, match="time limit of 0.0167 hours"):
        run(job_id)
    assert read(job_id).error["class"] == "timeout"


def test_a_briefing_longer_than_a_heartbeat_does_not_confuse_the_runner(
    platform: Path, arm: Callable
) -> None:
    arm("attempt.brief", "sleep 3")
    job_id = submit(steps=3)
    assert run(job_id) == "succeeded"
    assert len(attempts(job_id)) == 1


# -- failures of the storage and of the model store -----------------------------------------------


def assert_tried_again(job_id: str, *, message: str) -> None:
    job = read(job_id)
    assert (job.status, job.retries, job.barren_attempts) == ("queued", 1, 0)
    [attempt] = attempts(job_id)
    assert (attempt.outcome, attempt.failure) == ("failed", "infra")
    assert message in attempt.message and "tried again in" in attempt.message


def again(job_id: str) -> str:
    """Run a job whose wait is over."""
    with get_database().transaction() as session:
        session.get_one(Job, job_id).run_after = None
    return run(job_id)


def test_a_storage_that_is_away_in_the_briefing_is_tried_again(platform: Path) -> None:
    with get_database().reading():
        get_storage().put(Path(__file__), "some/input")
    (platform / "storage").rename(platform / "unmounted")
    job_id = submit(steps=3, inputs={"data": "some/input"})
    assert run(job_id) == "queued"
    assert_tried_again(job_id, message="Input 'data' is not to be had")
    (platform / "unmounted").rename(platform / "storage")
    assert again(job_id) == "succeeded"


def test_a_storage_that_is_away_at_the_end_is_tried_again(platform: Path) -> None:
    (platform / "storage").rmdir()
    (platform / "storage").write_text("not a folder")
    job_id = submit(steps=3)
    assert run(job_id) == "queued"
    assert_tried_again(job_id, message="could not be read or stored")
    (platform / "storage").unlink()
    assert again(job_id) == "succeeded"


def test_a_base_model_that_this_worker_lacks_is_tried_again(platform: Path) -> None:
    job_id = submit(steps=3, base_model="tiny")
    assert run(job_id) == "queued"
    assert_tried_again(job_id, message="This worker lacks the base model 'tiny'")


def test_an_input_that_is_gone_from_the_storage_is_not(platform: Path) -> None:
    job_id = submit(steps=3, inputs={"data": "gone/for/good"})
    with pytest.raises(JobFailed, match="config"):
        run(job_id)
    assert read(job_id).error["class"] == "config"


# -- checkpoints in the storage -------------------------------------------------------------------


def test_the_newest_is_looked_at_before_older_ones_are_dropped(
    platform: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A storage that keeps half of what it was given costs an attempt, not the good checkpoint."""
    whole = Storage.put_tree

    def halved(self: Storage, source: Path, key: str, *, move: bool = False) -> None:
        whole(self, source, key, move=move)
        if key.endswith("step-10"):
            (Path(self.root) / key / "step").write_text("1")

    monkeypatch.setattr(Storage, "put_tree", halved)
    job_id = submit(steps=20, every=5, keep=1)
    assert run(job_id) == "queued"
    assert_tried_again(job_id, message="not stored as it was written")
    assert steps(job_id) == [5]
    monkeypatch.setattr(Storage, "put_tree", whole)
    assert again(job_id) == "succeeded"
    assert read(job_id).result == {"begun": 5, "counted": 20}
    assert steps(job_id) == [20], "keep=1"
    kept = sorted(path.parent.name for path in (platform / "storage").rglob("step"))
    assert kept == ["step-10", "step-20"], "the damaged one is nobody's; the keeper takes it away"


def test_a_damaged_checkpoint_is_stepped_over(platform: Path) -> None:
    job_id = submit(steps=200, every=5, seconds=0.05)
    thread, _ = in_background(job_id)
    wait(lambda: len(steps(job_id)) >= 2)
    wish("pause", job_id)
    thread.join(timeout=60)
    newest, before, *_ = steps(job_id)
    [folder] = (platform / "storage").rglob(f"step-{newest}")
    shutil.rmtree(folder)
    with get_database().transaction() as session:
        service.resume(session, read(job_id).project_id, job_id)
    assert run(job_id) == "succeeded"
    assert read(job_id).result["begun"] == before
