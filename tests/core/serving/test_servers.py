"""A server is started once, when somebody asks and there is room; else it is said why there is
none. On both databases."""

import pytest
from sqlalchemy import select

from core import queue
from core.accounts.models import Project
from core.accounts.service import ensure_project
from core.adapters.service import resolve_model
from core.basemodels.service import record_base
from core.db import Database
from core.errors import InvalidInput, Unavailable, WrongState
from core.jobs import service
from core.jobs.dispatch import dispatch, spare_slots, waits_for
from core.jobs.models import Attempt, Job
from core.jobs.types.serve import ServeParams
from core.serving.places import Place, place_of
from core.serving.servers import ensure_server
from tests.core.jobs.jobs import add_job, add_worker
from tests.core.jobs.lives import read

BASE = {"name": "lab/tiny", "parameters": 1, "architecture": "L", "context_length": 8}
OTHER = BASE | {"name": "lab/other"}


@pytest.fixture(autouse=True)
def models(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "ring", lambda job_id, **_: True)
    with database.transaction() as session:
        record_base(session, BASE)
        record_base(session, OTHER)


def workers(database: Database, slots: int) -> None:
    with database.transaction() as session:
        add_worker(session, "gpu0@a", slots=slots)


def ensure(database: Database, project_id: str, model: str = "lab/tiny") -> None:
    with database.transaction() as session:
        ensure_server(session, project_id, resolve_model(session, project_id, model))


def servers(database: Database) -> list[Job]:
    with database.reading() as session:
        return list(session.scalars(select(Job).where(Job.type == "serve").order_by(Job.id)))


def submit(database: Database, project_id: str, **params: object) -> str:
    params = {"model": "lab/tiny"} | params
    with database.transaction() as session:
        return service.submit(session, project_id, "serve", ServeParams(**params)).id


def run(database: Database, job_id: str) -> service.Claim:
    with database.transaction() as session:
        claim = service.claim(session, job_id, "gpu0@a")
    assert claim is not None
    return claim


def give_up(database: Database, claim: service.Claim) -> None:
    """It makes room."""
    with database.transaction() as session:
        assert service.yielded(session, claim).status == "paused"


def pause(database: Database, project_id: str, job_id: str) -> None:
    with database.transaction() as session:
        service.request_pause(session, project_id, job_id)


def bounded(database: Database, *, running_jobs: int, trainings: int = 0) -> str:
    """Another project, which may run so many jobs at once, and runs so many trainings."""
    with database.transaction() as session:
        other = ensure_project(session, "bounded").id
        session.get_one(Project, other).quotas = {"running_jobs": running_jobs}
        for _ in range(trainings):
            add_job(session, other, type="train", status="running")
        return other


def owners(database: Database) -> list[tuple[str, str]]:
    return [(job.project_id, job.status) for job in servers(database)]


def test_one_is_started_where_a_device_is_free_and_only_one(database, project_id):
    workers(database, 1)
    ensure(database, project_id)
    ensure(database, project_id)
    [job] = servers(database)
    assert job.status == "queued"
    assert job.params["model"] == "lab/tiny"
    assert job.params["max_idle_seconds"] > 0
    run(database, job.id)
    ensure(database, project_id)
    assert len(servers(database)) == 1


def test_another_project_s_server_of_the_base_is_good_for_all(database, project_id):
    workers(database, 2)
    submit(database, project_id)
    with database.transaction() as session:
        other = ensure_project(session, "other").id
    ensure(database, other)
    assert len(servers(database)) == 1


@pytest.mark.parametrize("slots", [0, 1])
def test_where_no_device_is_free_it_is_said_and_nothing_is_started(database, project_id, slots):
    workers(database, slots)
    with database.transaction() as session:
        training = add_job(session, project_id, type="train").id
    if slots:
        run(database, training)
    with pytest.raises(Unavailable, match="no device is free") as refused:
        ensure(database, project_id)
    assert refused.value.code == "no_server"
    assert servers(database) == []


def test_jobs_that_wait_go_before_a_server(database, project_id):
    workers(database, 1)
    with database.transaction() as session:
        add_job(session, project_id, type="train")
    with pytest.raises(Unavailable):
        ensure(database, project_id)


@pytest.mark.parametrize(("policy", "room"), [("always", True), ("idle", True), ("never", False)])
def test_a_server_that_yields_makes_room_for_one_of_another_model(
    database, project_id, policy, room
):
    workers(database, 1)
    run(database, submit(database, project_id, model="lab/other", yield_policy=policy))
    if not room:
        with pytest.raises(Unavailable):
            ensure(database, project_id)
        return
    ensure(database, project_id)
    assert [job.status for job in servers(database)] == ["running", "queued"]
    with database.reading() as session:
        assert spare_slots(session, "gpu") == -1, "which the running one hears"


def test_one_that_has_yielded_is_paused_until_it_is_asked_for_and_there_is_room(
    database, project_id
):
    workers(database, 1)
    server = submit(database, project_id)
    claim = run(database, server)
    with database.transaction() as session:
        training = add_job(session, project_id, type="train").id
    give_up(database, claim)
    dispatch()
    with pytest.raises(Unavailable):
        ensure(database, project_id)
    held = run(database, training)
    with pytest.raises(Unavailable):
        ensure(database, project_id)
    with database.transaction() as session:
        service.cancelled(session, held)
    ensure(database, project_id)
    [job] = servers(database)
    assert (job.id, job.status) == (server, "queued")
    with database.reading() as session:
        [attempt] = session.scalars(select(Attempt).where(Attempt.job_id == server))
        assert attempt.outcome == "yielded"


def test_one_that_its_user_has_paused_stays_so(database, project_id):
    workers(database, 1)
    server = submit(database, project_id)
    with database.transaction() as session:
        service.request_pause(session, project_id, server)
    ensure(database, project_id)
    assert [job.status for job in servers(database)] == ["paused", "queued"]


def test_one_that_was_brought_back_and_is_paused_by_its_user_stays_so(database, project_id):
    workers(database, 1)
    server = submit(database, project_id)
    give_up(database, run(database, server))
    ensure(database, project_id)
    assert read(database, server).status == "queued"
    pause(database, project_id, server)
    ensure(database, project_id)
    assert [job.status for job in servers(database)] == ["paused", "queued"]


def test_one_that_has_yielded_can_be_paused_once_and_resumed_by_its_user(database, project_id):
    workers(database, 1)
    server = submit(database, project_id)
    give_up(database, run(database, server))
    pause(database, project_id, server)
    with pytest.raises(WrongState):
        pause(database, project_id, server)
    ensure(database, project_id)
    assert [job.status for job in servers(database)] == ["paused", "queued"]
    with database.transaction() as session:
        assert service.resume(session, project_id, server).status == "queued"


def test_a_user_s_pause_beats_a_yield(database, project_id):
    workers(database, 1)
    claim = run(database, submit(database, project_id))
    pause(database, project_id, claim.job_id)
    give_up(database, claim)
    ensure(database, project_id)
    assert [job.status for job in servers(database)] == ["paused", "queued"]
    with database.reading() as session:
        [attempt] = session.scalars(select(Attempt))
        assert attempt.outcome == "paused"


def test_a_user_s_cancel_beats_a_yield(database, project_id):
    workers(database, 1)
    claim = run(database, submit(database, project_id))
    with database.transaction() as session:
        service.request_cancel(session, project_id, claim.job_id)
    with database.transaction() as session:
        assert service.yielded(session, claim).status == "cancelled"


def test_an_adapter_is_asked_of_its_base_s_server_and_not_served_itself(
    database, project_id, making
):
    with database.transaction() as session:
        make = making(session)
        version = make.version()
        merged = make.merged(version, "whole")

        def place(model: str) -> Place:
            return place_of(resolve_model(session, project_id, model))

        assert place(version.address) == Place(place("lab/tiny").server, version.storage_key)
        assert place("whole") == Place(f"storage/{merged.storage_key}")
        address = version.address
    with pytest.raises(InvalidInput, match="lab/tiny") as refused:
        submit(database, project_id, model=address)
    assert refused.value.param == "model"
    workers(database, 1)
    ensure(database, project_id, "whole")
    assert [job.params["model"] for job in servers(database)] == ["whole"]


def test_spare_slots_count_what_runs_what_is_rung_and_what_waits(database, project_id):
    def spare() -> int:
        with database.reading() as session:
            return spare_slots(session, "gpu")

    assert spare() == 0
    workers(database, 3)
    assert spare() == 3
    with database.transaction() as session:
        ids = [add_job(session, project_id).id for _ in range(4)]
    assert spare() == -1
    dispatch()
    run(database, ids[0])
    assert spare() == -1


def test_a_job_that_its_quota_holds_up_keeps_no_device_from_a_server(database, project_id):
    workers(database, 2)
    other = bounded(database, running_jobs=1, trainings=1)
    with database.transaction() as session:
        add_job(session, other, type="train")
    ensure(database, project_id)
    assert owners(database) == [(project_id, "queued")]


def test_a_project_that_may_run_no_more_is_told_so_and_nothing_is_started(database, project_id):
    workers(database, 2)
    other = bounded(database, running_jobs=1, trainings=1)
    with pytest.raises(Unavailable, match="as many jobs running") as refused:
        ensure(database, other)
    assert refused.value.code == "no_server"
    assert servers(database) == []


def test_a_project_whose_own_jobs_come_first_is_told_so_each_time(database, project_id):
    workers(database, 2)
    other = bounded(database, running_jobs=1)
    with database.transaction() as session:
        add_job(session, other, type="train")
        add_job(session, other, type="train")
    for _ in range(2):
        with pytest.raises(Unavailable, match="before it"):
            ensure(database, other)
    assert servers(database) == []


@pytest.mark.parametrize("left", ["queued", "yielded"])
def test_a_server_that_another_s_quota_holds_up_is_not_waited_for(database, project_id, left):
    workers(database, 2)
    other = bounded(database, running_jobs=1)
    if left == "yielded":
        give_up(database, run(database, submit(database, other)))
    bounded(database, running_jobs=1, trainings=1)
    if left == "queued":
        submit(database, other)
    ensure(database, project_id)
    ensure(database, project_id)
    was = "queued" if left == "queued" else "paused"
    assert owners(database) == [(other, was), (project_id, "queued")]


def test_a_server_of_a_bounded_project_is_waited_for_while_it_may_run(database, project_id):
    workers(database, 1)
    other = bounded(database, running_jobs=1)
    submit(database, other)
    ensure(database, project_id)
    dispatch()
    ensure(database, project_id)
    assert owners(database) == [(other, "queued")], "also when it is rung for"


def test_a_project_s_own_server_makes_room_for_what_its_quota_holds_up(database, project_id):
    workers(database, 3)
    other = bounded(database, running_jobs=1)
    run(database, submit(database, other, model="lab/other"))

    def waits(project: str) -> bool:
        with database.reading() as session:
            return waits_for(session, "gpu", project)

    assert not waits(other)
    ensure(database, other)
    ensure(database, other)
    assert owners(database) == [(other, "running"), (other, "queued")]
    assert waits(other)
    assert not waits(project_id), "its going would be of no use"
