"""A model store for the rigs of these tests, and one rig for all tests that strike processes alone.

A test that needs servers or settings of its own starts its own rig.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import model_dir, upload_shop
from tests.faults import trainings
from tests.faults.rig import Rig, rig, wait_until
from tests.servers import Server, free_port, killable_valkey

__all__ = ["model_dir"]

WORKERS = ("gpu0", "gpu1", "cpu0")
PARTS = ("keeper", "beat", *WORKERS)


@pytest.fixture(scope="session")
def broker() -> Iterator[Server]:
    """The broker of the shared rig; it comes back with what it held."""
    with killable_valkey(port=free_port(), appendonly=True) as server:
        yield server


@pytest.fixture(scope="session")
def _shared(
    broker: Server, model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("shared") / "rig"
    # Room in the lease for a writer that holds SQLite for three seconds, and for a busy machine;
    # one on which much else runs needs more.
    lease = os.environ.get("TEST_LEASE_SECONDS", "10")
    settings = {"spare_runner": "true", "stop_grace_seconds": "8", "lease_seconds": lease}
    with rig(
        folder, broker_url=broker.url, model_dir=model_dir, workers=WORKERS, **settings
    ) as made:
        upload_shop(made.client, tmp_path_factory.mktemp("shop"))
        yield made


@pytest.fixture
def machine(_shared: Rig) -> Rig:
    """The shared rig: two gpu workers and a cpu worker, SQLite, spare runners as in production.
    Whatever the test before left behind is mended, so a test may break what it likes."""
    mend(_shared)
    return _shared


@pytest.fixture(scope="session")
def undisturbed(_shared: Rig) -> dict[str, Any]:
    """What the long training comes to when nothing strikes it."""
    mend(_shared)
    job_id = trainings.submit(_shared, "undisturbed")
    assert trainings.final_states(_shared, job_id) == []
    return trainings.made_of(_shared, job_id, "undisturbed")


def mend(rig: Rig) -> None:
    """Thaw, disarm, start what is down, end what runs."""
    for armed in (rig.folder / "failpoints").iterdir():
        armed.unlink()
    for name, process in list(rig.running.items()):
        for one in trainings.processes_of(rig, name) if process.poll() is None else []:
            with contextlib.suppress(ProcessLookupError):
                one.send_signal(signal.SIGCONT)
        if process.poll() is not None:
            rig.running.pop(name)
    rig.start(*[name for name in ("api", *PARTS) if name not in rig.running])
    rig.wait_ready()
    for status in ("queued", "running", "paused"):
        for job in rig.client.get("/v1/jobs", status=status, limit=100)["data"]:
            rig.client.post(f"/v1/jobs/{job['id']}/cancel")
    wait_until(lambda: not rig.client.get("/v1/jobs", status="running")["data"])
