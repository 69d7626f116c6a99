"""The briefing brings inputs, rows and the newest good checkpoint, or says what is not there."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from core.accounts.service import ensure_project
from core.db import get_database
from core.errors import JobFailure
from core.jobs import records, service, types
from core.jobs.claims import Claim
from core.jobs.records import Report
from core.jobs.types.base import Input
from core.settings import get_settings
from core.storage import describe_tree, get_storage
from tests.core.jobs.jobs import add_job
from tests.workers.counting import COUNT, CountParams
from tests.workers.test_supervisor import settled
from workers import briefing
from workers.briefing import Aid, localise, make_spec, share_of_threads
from workers.context import Spec


@pytest.fixture
def claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Claim]:
    monkeypatch.setattr(types, "TYPES", (*types.TYPES, COUNT))
    with settled(tmp_path):
        (tmp_path / "storage").mkdir()
        with get_database().transaction() as session:
            project = ensure_project(session, "default").id
            plain = CountParams().model_dump(mode="json")
            job = add_job(session, project, type="count", params=plain)
        with get_database().transaction() as session:
            held = service.claim(session, job.id, "gpu0@a")
        yield held


def do(work: Callable[[Session], Any]) -> Any:
    with get_database().transaction() as session:
        return work(session)


def brief(claim: Claim, folder: Path, **settings: Any) -> Spec:
    workdir = folder / "workdir"
    workdir.mkdir()
    settled = get_settings().model_copy(update=settings)
    return make_spec(claim, settled, workdir, "cpu", Aid(do, do, lambda work: work()))


def save(claim: Claim, folder: Path, step: int) -> Path:
    """A checkpoint as the supervisor stores it; returns its folder in the storage."""
    made = folder / f"made-{step}"
    made.mkdir()
    (made / "weights").write_text(f"at step {step}")
    (made / "optimizer").write_text("state")
    key = f"jobs/{claim.job_id}/step-{step}"
    files = describe_tree(made)
    get_storage().put_tree(made, key)
    do(
        lambda session: records.add_checkpoint(
            session, claim, step=step, storage_key=key, manifest=files, metrics={}
        )
    )
    return folder / "storage" / key


def test_a_first_attempt_has_neither_checkpoint_nor_rows(claim: Claim, tmp_path: Path) -> None:
    spec = brief(claim, tmp_path)
    assert (spec.resume, spec.rows, spec.inputs) == (None, None, {})


def test_a_later_attempt_has_the_newest_checkpoint_and_all_rows(
    claim: Claim, tmp_path: Path
) -> None:
    for step in (5, 10):
        save(claim, tmp_path, step)
    do(lambda s: records.write_report(s, claim, Report(rows={3: {"问": "?"}}), log_seq=0))
    spec = brief(claim, tmp_path)
    assert (Path(spec.resume) / "weights").read_text() == "at step 10"
    assert Path(spec.rows).read_text(encoding="utf-8") == '{"row": 3, "data": {"问": "?"}}\n'
    [attempt] = do(lambda s: records.attempts(s, claim.job_id))
    assert attempt.resumed_from_step == 10


def truncate(stored: Path) -> None:
    (stored / "weights").write_text("at")


def flip(stored: Path) -> None:
    (stored / "weights").write_text("at step 99"[: len("at step 10")])


def lose(stored: Path) -> None:
    (stored / "optimizer").unlink()


@pytest.mark.parametrize("damage", [truncate, flip, lose])
def test_a_damaged_checkpoint_is_rejected_and_the_one_before_is_used(
    claim: Claim, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    save(claim, tmp_path, 5)
    damage(save(claim, tmp_path, 10))
    spec = brief(claim, tmp_path)
    assert (Path(spec.resume) / "weights").read_text() == "at step 5"
    [usable] = do(lambda s: records.usable_checkpoints(s, claim.job_id))
    assert usable.step == 5


def test_the_original_may_go_while_the_copy_is_read(claim: Claim, tmp_path: Path) -> None:
    stored = save(claim, tmp_path, 5)
    spec = brief(claim, tmp_path)
    (stored / "weights").unlink()
    assert (Path(spec.resume) / "weights").exists()


def test_what_is_not_to_be_had_is_of_the_class_that_says_who_can_mend_it(
    claim: Claim, tmp_path: Path
) -> None:
    settings = get_settings()
    with pytest.raises(JobFailure) as gone:
        localise("data", Input("no/such/key"), settings, tmp_path)
    assert gone.value.klass == "config"
    with pytest.raises(JobFailure, match="tuneyard models fetch tiny") as lacking:
        localise("model", Input("tiny", store="models"), settings, tmp_path)
    assert lacking.value.klass == "infra"
    (tmp_path / "storage").rmdir()
    with pytest.raises(JobFailure) as away:
        localise("data", Input("no/such/key"), settings, tmp_path)
    assert away.value.klass == "infra"


def test_checkpoints_are_not_rejected_because_the_storage_is_away(
    claim: Claim, tmp_path: Path
) -> None:
    save(claim, tmp_path, 5)
    (tmp_path / "storage").rename(tmp_path / "unmounted")
    with pytest.raises(JobFailure) as away:
        brief(claim, tmp_path)
    assert away.value.klass == "infra"
    assert len(do(lambda s: records.usable_checkpoints(s, claim.job_id))) == 1


@pytest.mark.parametrize(("divided", "processes", "threads"), [((), 1, 6), (("count",), 2, 3)])
def test_the_types_that_are_divided_take_all_devices_and_the_others_one(
    claim: Claim, tmp_path: Path, monkeypatch, divided, processes, threads
) -> None:
    monkeypatch.setattr(briefing, "DIVIDED", divided)
    spec = brief(claim, tmp_path, processes=2, threads=6)
    assert (spec.processes, spec.rank, spec.threads) == (processes, 0, threads)


def test_processes_share_all_cores_where_no_number_of_threads_is_set(monkeypatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert [share_of_threads(0, processes) for processes in (1, 2, 16)] == [0, 4, 1]
