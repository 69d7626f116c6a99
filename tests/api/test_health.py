"""`/health/ready` tells the truth, and within seconds, whatever hangs."""

import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from core.db import db_now, get_database
from core.fleet import service as fleet
from core.fleet.models import KeeperRun
from tests.api.process import api_process
from tests.core.jobs.jobs import add_worker
from tests.platform import environment
from tests.servers import free_port, killable_valkey

BOUND = 20
"""Seconds: the promise is 3, on a machine that does nothing else."""


@pytest.fixture
def settings(data_dir: Path, database) -> dict[str, str]:
    with fleet.keeper_run("sweep"), get_database().transaction() as session:
        add_worker(session, "keeper@h", queue="system")
        add_worker(session, "gpu0@h")
    return {"data_dir": str(data_dir), "database_url": database.url, "lease_seconds": "600"}


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that takes every connection and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(200)
        yield server.getsockname()[1]


def ready(base_url: str) -> tuple[int, dict]:
    answer = httpx.get(f"{base_url}/health/ready", timeout=BOUND)
    return answer.status_code, answer.json()


def test_ready_is_the_truth_about_broker_keeper_and_sweep(
    settings: dict[str, str], data_dir: Path
) -> None:
    with (
        killable_valkey(port=free_port()) as broker,
        environment(**settings, broker_url=broker.url),
        api_process(data_dir) as api,
    ):
        status, body = ready(api.base_url)
        assert (status, body["status"]) == (200, "ready"), body
        assert body["workers"] == {"gpu": 1, "system": 1}

        with get_database().transaction() as session:
            session.execute(update(KeeperRun).values(finished_at=db_now() - 600))
        assert ready(api.base_url) == (503, body | {"status": "unavailable", "keeper": "late"})
        with get_database().transaction() as session:
            fleet.retire(session, "keeper@h")
        assert ready(api.base_url)[1]["keeper"] == "away"
        with get_database().transaction() as session:
            session.execute(update(KeeperRun).values(finished_at=db_now()))
            add_worker(session, "keeper@h", queue="system")
        assert ready(api.base_url) == (200, body)

        broker.process.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        try:
            status, hung = ready(api.base_url)
            assert (status, hung["broker"], hung["database"]) == (503, "away", "ok")
            assert time.monotonic() - begun < BOUND
            assert httpx.get(f"{api.base_url}/health/live", timeout=BOUND).status_code == 200
        finally:
            broker.process.send_signal(signal.SIGCONT)
        deadline = time.monotonic() + 60
        while ready(api.base_url)[0] != 200:
            assert time.monotonic() < deadline, "it does not come back"
            time.sleep(0.2)


def test_a_database_that_says_nothing_holds_up_neither_ready_nor_live(
    tmp_path: Path, silent_port: int
) -> None:
    url = f"postgresql://somebody@127.0.0.1:{silent_port}/db"
    with (
        environment(data_dir=str(tmp_path), database_url=url, broker_url="redis://127.0.0.1:1/0"),
        api_process(tmp_path) as api,
    ):

        def hang() -> None:
            headers = {"authorization": "Bearer ty-anything"}
            with pytest.raises(httpx.HTTPError):
                httpx.get(f"{api.base_url}/v1/jobs", headers=headers, timeout=5)

        # More than there are threads: an endpoint that needed one would get none.
        callers = [threading.Thread(target=hang) for _ in range(60)]
        for caller in callers:
            caller.start()
        time.sleep(1)
        begun = time.monotonic()
        status, body = ready(api.base_url)
        assert (status, body["database"], body["keeper"]) == (503, "away", "away")
        assert body["storage"] == "ok"
        assert httpx.get(f"{api.base_url}/health/live", timeout=BOUND).status_code == 200
        assert time.monotonic() - begun < BOUND
        for caller in callers:
            caller.join()


def test_a_storage_that_is_gone_is_told(settings: dict[str, str], data_dir: Path) -> None:
    (data_dir / "in_the_way").touch()
    with (
        environment(**settings, storage_url=f"file://{data_dir}/in_the_way/x"),
        api_process(data_dir) as api,
    ):
        assert ready(api.base_url)[1]["storage"] == "away"
