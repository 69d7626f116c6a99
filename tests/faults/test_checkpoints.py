"""A save that goes wrong spoils nothing: what is used was written whole, and verified."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.storage import StoredFile, verify_tree
from tests.e2e.conftest import upload_shop
from tests.faults.rig import Rig, rig, wait_until
from tests.faults.trainings import (
    FIRST_SAVE,
    QUICK,
    final_states,
    in_training,
    made_of,
    outcomes,
    query,
    reach,
    runner_for,
    submit,
    versions,
)

NOTHING = 2_048
"""Bytes of a file at which the disk is full: less than each file of a checkpoint."""


def kept_checkpoints(rig: Rig, job_id: str) -> list[tuple[int, Path, list[StoredFile]]]:
    """Step, folder and manifest of each checkpoint that can be resumed from, newest first."""
    sql = (
        "SELECT step, storage_key, manifest FROM checkpoints"
        " WHERE job_id = ? AND rejected IS NULL ORDER BY step DESC"
    )
    root = Path(rig.settings.get("storage_url", "").removeprefix("file://") or storage(rig))
    return [
        (step, root / key, [StoredFile(**entry) for entry in json.loads(manifest)])
        for step, key, manifest in query(rig, sql, job_id)
    ]


def storage(rig: Rig) -> Path:
    return rig.folder / "data" / "storage"


def failed_of_a_full_disk(rig: Rig, job_id: str) -> None:
    """Class `disk`, at the first time; every checkpoint from before is as it was written."""
    job = rig.wait_status(job_id, "succeeded", "failed", seconds=120)
    assert (job["status"], (job["error"] or {}).get("class")) == ("failed", "disk"), job["error"]
    assert "disk is full" in job["error"]["message"]
    assert final_states(rig, job_id) == ["failed"]
    assert outcomes(rig, job_id) == ["failed"]
    kept = kept_checkpoints(rig, job_id)
    assert kept[0][0] >= FIRST_SAVE
    assert [verify_tree(folder, manifest) for _, folder, manifest in kept] == [None] * len(kept)


def next_job_runs(rig: Rig, adapter: str) -> None:
    job_id = rig.client.submit("train", adapter=adapter, **QUICK)["id"]
    made_of(rig, job_id, adapter)


@pytest.mark.fault(11)
@pytest.mark.parametrize(
    "room", ["nothing", pytest.param("the adapter alone", marks=pytest.mark.chaos)]
)
def test_a_disk_that_is_full_in_a_checkpoint_fails_the_job_and_spares_the_checkpoint_before(
    machine: Rig, room: str
) -> None:
    adapter = f"full-disk-{room.split()[-1]}"
    job_id = in_training(machine, adapter)
    _, _, manifest = kept_checkpoints(machine, job_id)[0]
    size = {Path(entry.path).name: entry.bytes for entry in manifest}
    enough = size["adapter_model.safetensors"] + 1000
    assert NOTHING < size["adapter_model.safetensors"] < enough < size["state.pt"]
    limit = NOTHING if room == "nothing" else enough
    runner_for(machine, job_id).rlimit(psutil.RLIMIT_FSIZE, (limit, limit))
    failed_of_a_full_disk(machine, job_id)
    assert versions(machine, adapter) == []
    assert not list(storage(machine).rglob("*.part"))
    next_job_runs(machine, f"after-{adapter}")


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own, if this user may mount one."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Write until there is no byte left."""
    with (folder / "filler").open("wb", buffering=0) as filler:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while filler.write(b"x" * size) == size:
                    pass
            except OSError:
                continue


@pytest.mark.chaos
@pytest.mark.fault(11)
@pytest.mark.parametrize("place", ["work_dir", "storage_url"])
def test_a_file_system_that_is_really_full_does_the_same(
    valkey_url: str, model_dir: Path, tmp_path: Path, place: str
) -> None:
    with small_disk(tmp_path / "disk", 24) as disk:
        url = {"work_dir": str(disk), "storage_url": f"file://{disk}"}[place]
        here = {"broker_url": valkey_url, "model_dir": model_dir, place: url}
        with rig(tmp_path / "rig", **here) as made:
            upload_shop(made.client, tmp_path)
            job_id = in_training(made, "really-full")
            fill(disk)
            failed_of_a_full_disk(made, job_id)
            assert versions(made, "really-full") == []
            assert not list(disk.rglob("*.part"))
            (disk / "filler").unlink()
            next_job_runs(made, "room-again")


@pytest.mark.fault(12)
@pytest.mark.parametrize(
    "failpoint",
    ["checkpoint.staged@40", pytest.param("attempt.checkpoint@40", marks=pytest.mark.chaos)],
)
def test_a_job_killed_in_the_midst_of_a_save_goes_on_from_the_save_before(
    machine: Rig, undisturbed: dict[str, Any], failpoint: str
) -> None:
    """Written and not yet renamed by the runner; stored and not yet recorded by the supervisor."""
    adapter = f"killed-{failpoint.split('@')[0].replace('.', '-')}"
    machine.arm(failpoint, "kill")
    job_id = submit(machine, adapter)
    assert made_of(machine, job_id, adapter) == undisturbed
    assert machine.fired(failpoint)
    assert outcomes(machine, job_id) == ["lost", "succeeded"]
    assert machine.attempts(job_id)[1]["resumed_from_step"] == FIRST_SAVE


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_a_byte(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.seek(path.stat().st_size // 2)
        byte = stream.read(1)[0]
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte ^ 1]))


HARMS: list[tuple[Callable[[Path], None], str]] = [
    (truncate, "bytes instead of"),
    (flip_a_byte, "another sha256"),
    (Path.unlink, "is missing"),
]


@pytest.mark.fault(12)
def test_a_damaged_checkpoint_is_refused_said_so_and_the_one_before_it_is_used(
    machine: Rig, undisturbed: dict[str, Any]
) -> None:
    """Three times in one training: state.pt cut short, one bit of it flipped, not there at all."""
    job_id = submit(machine, "damaged")
    expected = []
    for number, (harm, reason) in enumerate(HARMS, start=1):
        reach(machine, job_id, 40 * number)
        runner = runner_for(machine, job_id)
        runner.suspend()
        time.sleep(1.5)  # what it had said before is stored and recorded now
        newest, before = kept_checkpoints(machine, job_id)[:2]
        harm(newest[1] / "state.pt")
        runner.kill()
        machine.wait_event(job_id, f"checkpoint at step {newest[0]} is not used: state.pt")
        [said] = [one for one in machine.events(job_id) if f"step {newest[0]} is not used" in one]
        assert reason in said
        assert "Stepping back one" in said
        expected.append(before[0])
        wait_until(
            lambda number=number: (
                len(machine.attempts(job_id)) == number + 1
                and machine.attempts(job_id)[number]["resumed_from_step"] is not None
            )
        )
    assert made_of(machine, job_id, "damaged") == undisturbed
    attempts = machine.attempts(job_id)
    assert [attempt["outcome"] for attempt in attempts] == ["lost"] * 3 + ["succeeded"]
    assert [attempt["resumed_from_step"] for attempt in attempts[1:]] == expected
    rejected = "SELECT count(*) FROM checkpoints WHERE job_id = ? AND rejected IS NOT NULL"
    assert query(machine, rejected, job_id) == [(3,)]
