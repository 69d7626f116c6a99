"""A thousand small jobs at once while workers come and go: all end well, none twice."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from core.db import Database
from core.jobs.models import Attempt, Job
from tests.e2e.shop import write_jsonl
from tests.faults import invariants, mayhem
from tests.faults.customers import upload_pairs
from tests.faults.kill_loop import SETTINGS, say
from tests.faults.mayhem import Mayhem
from tests.faults.rig import Rig, rig
from tests.servers import new_postgres_database, postgres_server, valkey_server

JOBS = 1000
CLIENTS = 32
WORKERS = ("cpu0", "cpu1", "cpu2")
BUSY_SECONDS = 2400
STRUCK = ("worker killed", "worker told to go", "runner killed")
ROWS = [{"question": f"How much is {n}?", "sql": f"SELECT {n}"} for n in range(3)]
WHOLE = {"train": 1.0, "validation": 0.0, "test": 0.0}


@pytest.fixture
def crowd(model_dir: Path, tmp_path: Path) -> Iterator[Rig]:
    with ExitStack() as stack:
        broker_url = stack.enter_context(valkey_server())
        database_url = new_postgres_database(stack.enter_context(postgres_server()))
        yield stack.enter_context(
            rig(
                tmp_path / "rig",
                broker_url=broker_url,
                database_url=database_url,
                model_dir=model_dir,
                workers=WORKERS,
                **SETTINGS,
            )
        )


@pytest.mark.chaos
@pytest.mark.timeout(BUSY_SECONDS + 600)
def test_a_thousand_jobs_of_32_clients_all_end_well_and_none_twice(
    crowd: Rig, tmp_path: Path
) -> None:
    began = time.monotonic()
    file = write_jsonl(tmp_path / "few.jsonl", ROWS)
    authorised = {"authorization": f"Bearer {crowd.key}"}
    with httpx.Client(base_url=crowd.base_url, headers=authorised, timeout=120) as http:
        file_id = upload_pairs(http, file)
        with ThreadPoolExecutor(CLIENTS) as clients:
            futures = [clients.submit(submit, http, file_id, number) for number in range(JOBS)]
            accepted = {future.result(): "prepare" for future in futures}
    submitted = time.monotonic() - began
    say(f"{JOBS} jobs submitted in {submitted:.1f} s, {JOBS / submitted:.0f} a second")
    come_and_go(crowd)
    took = time.monotonic() - began
    with Database(crowd.settings["database_url"]).reading() as session:
        assert invariants.unfinished(session) == []
        assert invariants.lost(session, accepted) == []
        assert invariants.doubled(session) == []
        assert invariants.badly_recorded(session) == []
        ends = dict(session.execute(select(Job.status, func.count()).group_by(Job.status)).all())
        attempts = session.scalar(select(func.count()).select_from(Attempt))
    assert ends == {"succeeded": JOBS}
    say(f"all ended after {took:.0f} s, {JOBS / took:.1f} jobs a second, {attempts} attempts")


def submit(http: httpx.Client, file_id: str, number: int) -> str:
    params = {"name": f"few-{number}", "file": file_id, "split": WHOLE}
    answer = http.post("/v1/jobs", json={"type": "prepare", "params": params})
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def come_and_go(crowd: Rig) -> None:
    """Workers are killed, told to go and started again until the last job has ended."""
    quiet = tuple(kind for kind in mayhem.WEIGHTS if kind not in STRUCK)
    faults = mayhem.draw(1, BUSY_SECONDS, gap=10, lease=10, without=quiet)
    chaos = Mayhem(crowd, {}, faults)
    database = Database(crowd.settings["database_url"])
    deadline, said = time.monotonic() + BUSY_SECONDS, time.monotonic()
    while time.monotonic() < deadline:
        chaos.step()
        with database.reading() as session:
            left = len(invariants.unfinished(session))
        if left == 0:
            break
        if time.monotonic() - said > 20:
            said = time.monotonic()
            say(f"{left} jobs left, {sum(chaos.done.values())} workers and runners struck")
        time.sleep(0.2)
    say(f"struck: {dict(chaos.done)}")
