"""Files in an object store: a training lives on in it, and a store that is away costs no job.

The store is moto's server, reached through a proxy that hangs up when a test wants it to.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.client import ApiError
from core.storage import Storage
from tests.e2e.conftest import upload_shop
from tests.e2e.shop import pairs, write_jsonl
from tests.faults.blackhole import Blackhole, blackhole
from tests.faults.rig import Rig, rig, wait_until
from tests.faults.steady import dead, training
from tests.faults.trainings import FIRST_SAVE, LONG, final_states, outcomes
from tests.servers import S3Server

GPUS = ("gpu0", "gpu1")


@pytest.fixture(scope="module")
def between(s3_storage: S3Server) -> Iterator[Blackhole]:
    with blackhole(port=int(s3_storage.endpoint.rpartition(":")[2])) as made:
        yield made


@pytest.fixture(scope="module")
def bucket(
    s3_storage: S3Server,
    between: Blackhole,
    valkey_url: str,
    model_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Rig]:
    """Two gpu workers that share nothing but the bucket. Keys are in the environment alone."""
    folder = tmp_path_factory.mktemp("bucket")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{between.port}")
        with rig(
            folder / "rig",
            broker_url=valkey_url,
            model_dir=model_dir,
            storage_url=s3_storage.new_url(),
            workers=(*GPUS, "cpu0"),
        ) as made:
            upload_shop(made.client, folder)
            yield made


def storage(rig: Rig) -> Storage:
    return Storage(rig.settings["storage_url"])


def checkpoints(rig: Rig, job_id: str) -> list[dict]:
    return rig.client.get(f"/v1/jobs/{job_id}/checkpoints", limit=100, order="asc")["data"]


def kill_worker_of(rig: Rig, job_id: str) -> str:
    """SIGKILL, and it does not come back until the test is over."""
    name = rig.worker_of(job_id)
    rig.kill(name)
    return name


@pytest.mark.chaos
def test_a_training_whose_worker_is_gone_goes_on_elsewhere_from_a_checkpoint_in_the_bucket(
    bucket: Rig,
) -> None:
    job_id = training(bucket, epochs=30)
    bucket.wait_event(job_id, "Checkpoint at step", seconds=120)
    gone = kill_worker_of(bucket, job_id)
    try:
        done = bucket.wait_status(job_id, "succeeded", "failed", seconds=240)
        assert done["status"] == "succeeded", done["error"]
        first, second = bucket.attempts(job_id)
        assert first["worker"] != second["worker"]
        assert second["resumed_from_step"] >= FIRST_SAVE
        assert final_states(bucket, job_id) == ["succeeded"]
        kept = [found.key for found in storage(bucket).walk("projects")]
        assert any(key.endswith("adapter_model.safetensors") for key in kept)
        assert not (bucket.folder / "data" / "storage").exists(), (
            "nothing is kept beside the bucket"
        )
    finally:
        bucket.start(gone)
        bucket.wait_ready()


@pytest.mark.chaos
def test_a_checkpoint_that_came_into_the_bucket_in_part_is_not_used(bucket: Rig) -> None:
    job_id = training(bucket, epochs=30)
    wait_until(lambda: len(checkpoints(bucket, job_id)) >= 2, seconds=120)
    gone = kill_worker_of(bucket, job_id)
    try:
        older, newest = checkpoints(bucket, job_id)[-2:]
        halve_the_largest(bucket, job_id, newest["step"])
        bucket.wait_event(job_id, "is not used", seconds=90)
        done = bucket.wait_status(job_id, "succeeded", "failed", seconds=240)
        assert done["status"] == "succeeded", done["error"]
        assert bucket.attempts(job_id)[1]["resumed_from_step"] == older["step"]
    finally:
        bucket.start(gone)
        bucket.wait_ready()


def halve_the_largest(rig: Rig, job_id: str, step: int) -> None:
    store = storage(rig)
    files = [one for one in store.walk("projects") if f"{job_id}/" in one.key]
    largest = max((one for one in files if f"step-{step}/" in one.key), key=lambda one: one.bytes)
    with store.open(largest.key) as stream:
        half = stream.read(largest.bytes // 2)
    store.fs.pipe_file(f"{store.root}/{largest.key}", half)


@pytest.mark.chaos
def test_a_store_that_is_away_for_a_moment_costs_the_job_nothing_but_time(
    bucket: Rig, between: Blackhole
) -> None:
    job_id = training(bucket, epochs=30)
    bucket.wait_event(job_id, "Checkpoint at step", seconds=120)
    between.hung_up()
    time.sleep(12)
    between.whole()
    done = bucket.wait_status(job_id, "succeeded", "failed", seconds=300)
    assert done["status"] == "succeeded", done["error"]
    # Its client tried again, or the attempt failed as `infra` and the next one went on.
    assert set(outcomes(bucket, job_id)) <= {"failed", "succeeded"}
    assert dead(bucket) == []


@pytest.mark.chaos
def test_a_store_that_is_away_for_long_is_a_failure_of_the_platform_which_is_tried_again(
    bucket: Rig, between: Blackhole
) -> None:
    file = write_jsonl(bucket.folder / "pairs.jsonl", pairs())
    between.hung_up()
    with pytest.raises(ApiError) as refused:
        bucket.client.upload("/v1/files", file, purpose="fine-tune")
    assert refused.value.status == 503
    job_id = bucket.client.submit("train", **(LONG | {"epochs": 1}))["id"]
    bucket.wait_event(job_id, "tried again", seconds=240)
    between.whole()
    done = bucket.wait_status(job_id, "succeeded", "failed", seconds=600)
    assert done["status"] == "succeeded", done["error"]
    assert "failed" in outcomes(bucket, job_id)
    assert dead(bucket) == []


def test_the_keys_of_the_store_stand_in_no_row_argument_or_log(bucket: Rig) -> None:
    secret = os.environ["AWS_SECRET_ACCESS_KEY"].encode()
    kept = [path for path in bucket.folder.rglob("*") if path.is_file()]
    assert any(path.name == "tuneyard.db" for path in kept)
    assert [path for path in kept if secret in path.read_bytes()] == []
    for process in bucket.running.values():
        assert secret not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
