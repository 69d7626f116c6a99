"""The fleet is who was heard of lately and has not said goodbye."""

from sqlalchemy import update

from core.db import Database, db_now
from core.fleet.models import Worker
from core.fleet.service import Node, largest_memory, live_slots, live_workers, register, retire
from tests.core.jobs.jobs import add_worker


def test_slots_and_memory_are_those_of_live_workers(database: Database) -> None:
    with database.transaction() as session:
        add_worker(session, "gpu0@a", slots=1)
        add_worker(session, "gpu1@a", slots=2)
        add_worker(session, "cpu0@a", queue="cpu")
        assert live_slots(session) == {"cpu": 1, "gpu": 3}
        assert largest_memory(session, "gpu") == 8 * 1024**3
        retire(session, "gpu1@a")
        session.execute(
            update(Worker).where(Worker.id == "cpu0@a").values(heartbeat_at=db_now() - 3600)
        )
        assert [worker.id for worker in live_workers(session)] == ["gpu0@a"]
        assert largest_memory(session, "cpu") is None


def test_a_worker_that_comes_back_lives_again(database: Database) -> None:
    with database.transaction() as session:
        add_worker(session, "gpu0@a")
        retire(session, "gpu0@a")
        add_worker(session, "gpu0@a", slots=4)
        assert live_slots(session) == {"gpu": 4}


def test_a_process_that_comes_up_under_a_known_name_began_when_it_came_up(
    database: Database,
) -> None:
    node = Node(
        "gpu0@a", queue="gpu", device="cpu", slots=1, memory_bytes=1, models=[], versions={}
    )

    def began() -> float:
        with database.reading() as session:
            return session.get_one(Worker, node.id).started_at

    with database.transaction() as session:
        register(session, node, fresh=True)
    first = began()
    with database.transaction() as session:
        register(session, node)
    assert began() == first, "it only goes on"
    with database.transaction() as session:
        register(session, node, fresh=True)
    assert began() > first
