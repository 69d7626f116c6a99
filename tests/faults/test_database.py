"""PostgreSQL goes away, comes back, falls silent: no claim is doubled and nothing hangs for ever.

The platform reaches it over TCP through a proxy that can turn bad. Its lease is long enough for a
restart and short enough for a test that waits it out.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import upload_shop
from tests.faults.blackhole import Blackhole, blackhole
from tests.faults.rig import Rig, rig, wait_until
from tests.faults.steady import (
    CONSUMING_SECONDS,
    claimed_after,
    dead,
    prepare,
    training,
    untouched_training,
)
from tests.faults.trainings import (
    FIRST_SAVE,
    final_states,
    outcomes,
    runner_for,
    wait_dead,
)
from tests.servers import Server, killable_postgres, new_postgres_database, postgres_host

LEASE = 15
GRACE = 3
STATEMENT = 3
BOUND = 40
"""No answer of the API takes longer, whatever the database does."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    with killable_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def between(postgres: Server) -> Iterator[Blackhole]:
    with blackhole(path=f"{postgres_host(postgres.url)}/.s.PGSQL.5432") as made:
        yield made


@pytest.fixture(scope="module")
def elephant(
    postgres: Server,
    between: Blackhole,
    valkey_url: str,
    model_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("elephant")
    name = new_postgres_database(postgres.url).partition("?")[0].rpartition("/")[2]
    with rig(
        folder / "rig",
        broker_url=valkey_url,
        model_dir=model_dir,
        database_url=f"postgresql://postgres@127.0.0.1:{between.port}/{name}",
        lease_seconds=str(LEASE),
        fence_grace_seconds=str(GRACE),
        database_timeout_seconds=str(STATEMENT),
    ) as made:
        upload_shop(made.client, folder)
        yield made


def asked(rig: Rig) -> httpx.Response:
    """What the API answers to one question, without a second try."""
    headers = {"authorization": f"Bearer {rig.key}"}
    return httpx.get(f"{rig.base_url}/v1/jobs", headers=headers, timeout=BOUND)


def says_that_it_is_away(rig: Rig) -> bool:
    """503 with a time to come again, never 500; and so does the page that load balancers ask."""
    answer = asked(rig)
    ready = httpx.get(f"{rig.base_url}/health/ready", timeout=BOUND)
    alive = httpx.get(f"{rig.base_url}/health/live", timeout=BOUND)
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["error"]["code"] == "unavailable"
    return (ready.status_code, alive.status_code) == (503, 200)


@pytest.mark.fault(10)
def test_a_restart_shorter_than_the_lease_is_not_noticed_by_a_running_job(
    elephant: Rig, postgres: Server
) -> None:
    with untouched_training(elephant):
        postgres.stop()  # `immediate`
        assert says_that_it_is_away(elephant)
        postgres.start()
        whole = time.time()
        assert claimed_after(elephant, prepare(elephant), whole) < CONSUMING_SECONDS
    assert dead(elephant) == []


@pytest.mark.chaos
@pytest.mark.fault(10)
def test_a_database_away_for_longer_than_the_lease_stops_the_runner_and_the_job_resumes(
    elephant: Rig, postgres: Server
) -> None:
    job_id = training(elephant, epochs=60)
    elephant.wait_event(job_id, "Checkpoint at step", seconds=120)
    runner = runner_for(elephant, job_id)
    postgres.stop()
    stopped = time.monotonic()
    wait_dead(runner, seconds=60)
    assert time.monotonic() - stopped > LEASE - GRACE - 3, "it gave up before it had to"
    time.sleep(max(0.0, LEASE + 2 - (time.monotonic() - stopped)))
    postgres.start()
    elephant.wait_status(job_id, "succeeded", seconds=240)
    first, second = elephant.attempts(job_id)
    assert (first["outcome"], second["outcome"]) == ("lost", "succeeded")
    assert second["resumed_from_step"] >= FIRST_SAVE
    assert final_states(elephant, job_id) == ["succeeded"]
    assert dead(elephant) == []


@pytest.mark.fault(10)
@pytest.mark.chaos
@pytest.mark.parametrize("fault", ["silent", "dropped"])
def test_a_half_open_connection_hangs_nobody_for_ever(
    elephant: Rig, between: Blackhole, fault: str
) -> None:
    job_id = training(elephant)
    elephant.wait_event(job_id, "Checkpoint at step", seconds=120)
    runner = runner_for(elephant, job_id)
    getattr(between, fault)()
    assert says_that_it_is_away(elephant)
    wait_dead(runner, seconds=60)
    time.sleep(10)
    assert says_that_it_is_away(elephant)
    between.whole()
    whole = time.time()
    assert claimed_after(elephant, prepare(elephant), whole) < CONSUMING_SECONDS
    wait_until(
        lambda: len(outcomes(elephant, job_id)) == 2,
        seconds=120,
        what=lambda: elephant.events(job_id),
    )
    assert elephant.attempts(job_id)[0]["outcome"] == "lost"
    elephant.client.post(f"/v1/jobs/{job_id}/cancel")
    elephant.wait_status(job_id, "cancelled")
    assert dead(elephant) == []


@pytest.mark.fault(10)
@pytest.mark.chaos
def test_processes_that_start_without_a_database_work_once_it_is_there(
    elephant: Rig, postgres: Server
) -> None:
    postgres.stop()
    names = ("keeper", "beat", "cpu0", "gpu0", "api")
    for name in names:
        elephant.kill(name)
    elephant.start(*names)
    time.sleep(30)
    assert dead(elephant) == []
    assert says_that_it_is_away(elephant)
    postgres.start()
    whole = time.time()
    assert claimed_after(elephant, prepare(elephant), whole) < CONSUMING_SECONDS
    assert dead(elephant) == []
