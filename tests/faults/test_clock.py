"""Hosts whose clocks are two hours wrong: the database's clock alone counts, so nobody notices.

A shim (`skew.c`) shifts the wall clock of the processes that a test names. On SQLite the database's
clock is the host's own, so this is shown on PostgreSQL.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import upload_shop
from tests.faults.rig import Rig, rig, wait_until
from tests.faults.steady import CONSUMING_SECONDS, cancel, claimed_after, dead, prepare, training
from tests.faults.trainings import FIRST_SAVE, final_states, holds, outcomes, processes_of
from tests.platform import ROOT
from tests.servers import new_postgres_database

pytestmark = pytest.mark.chaos

AHEAD, BEHIND = 7200, -7200


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("shim") / "skew.so"
    source = ROOT / "tests" / "faults" / "skew.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", made, source, "-ldl"], check=True)
    return made


def skewed(shim: Path, seconds: int) -> dict[str, str]:
    return {"LD_PRELOAD": str(shim), "SKEW_SECONDS": str(seconds)}


@pytest.fixture(scope="module")
def hosts(
    postgres_server_url: str,
    valkey_url: str,
    model_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("hosts")
    with rig(
        folder / "rig",
        broker_url=valkey_url,
        model_dir=model_dir,
        database_url=new_postgres_database(postgres_server_url),
        workers=("gpu0", "cpu0"),
        lease_seconds="8",
    ) as made:
        upload_shop(made.client, folder)
        yield made


def with_clocks(hosts: Rig, shim: Path, **seconds: int) -> None:
    """Start these processes anew with clocks that are wrong by so much."""
    for name in ("keeper", "beat", "gpu0", "cpu0"):
        if name in hosts.running:
            hosts.stop(name)
        hosts.start(name, env=skewed(shim, seconds[name]) if name in seconds else {})
    hosts.wait_ready(seconds=120)


def test_the_shim_moves_the_wall_clock_alone(shim: Path) -> None:
    ask = "import time, datetime; print([time.time(), datetime.datetime.now().timestamp(), "
    ask += "time.monotonic()])"
    told = subprocess.check_output(
        [sys.executable, "-c", ask], env=os.environ | skewed(shim, AHEAD), text=True
    )
    wall, date, monotonic = json.loads(told)
    assert 7000 < wall - time.time() < 7400
    assert 7000 < date - time.time() < 7400
    assert abs(monotonic - time.monotonic()) < 60


@pytest.mark.fault(13)
@pytest.mark.parametrize(("worker", "keeper"), [(AHEAD, BEHIND), (BEHIND, AHEAD)])
def test_clocks_that_are_two_hours_wrong_steal_and_extend_no_lease(
    hosts: Rig, shim: Path, worker: int, keeper: int
) -> None:
    with_clocks(hosts, shim, gpu0=worker, cpu0=-worker, keeper=keeper)
    assert claimed_after(hosts, prepare(hosts), time.time()) < CONSUMING_SECONDS
    job_id = training(hosts)
    # Much longer than the lease: it is renewed, and the keeper takes it from nobody.
    assert holds(lambda: outcomes(hosts, job_id) == [None], 20)
    for process in processes_of(hosts, "gpu0"):
        process.suspend()
    silent = time.time()
    # Nor is it extended: a worker that falls silent loses it within lease and sweep.
    wait_until(lambda: outcomes(hosts, job_id)[0] == "lost", seconds=60)
    assert 4 < hosts.attempts(job_id)[0]["finished_at"] - silent < 40
    hosts.kill("gpu0")
    hosts.start("gpu0", env=skewed(shim, worker))
    wait_until(lambda: outcomes(hosts, job_id) == ["lost", None], seconds=120)
    cancel(hosts, job_id)
    assert final_states(hosts, job_id) == ["cancelled"]
    assert dead(hosts) == []


@pytest.mark.fault(13)
def test_a_sweep_is_run_however_wrong_the_keepers_clock_is(hosts: Rig, shim: Path) -> None:
    with_clocks(hosts, shim, keeper=AHEAD)  # a message with an expiry would be thrown away
    job_id = training(hosts, epochs=60)
    hosts.wait_event(job_id, "Checkpoint at step", seconds=120)
    hosts.kill("gpu0")  # only a sweep gives its job back
    hosts.start("gpu0")
    hosts.wait_status(job_id, "succeeded", seconds=240)
    assert hosts.attempts(job_id)[1]["resumed_from_step"] >= FIRST_SAVE
    assert outcomes(hosts, job_id) == ["lost", "succeeded"]


@pytest.mark.fault(13)
def test_beats_own_clock_that_is_set_back_stops_no_sweep(hosts: Rig, shim: Path) -> None:
    with_clocks(hosts, shim, beat=AHEAD)
    time.sleep(3)  # its file now says that the last sweep was sent in two hours
    hosts.stop("beat")
    hosts.start("beat")
    job_id = training(hosts)
    hosts.kill("gpu0")
    hosts.start("gpu0")
    wait_until(lambda: outcomes(hosts, job_id) == ["lost", None], seconds=90)
    cancel(hosts, job_id)
