"""The fleet is who was heard of lately and has not said goodbye."""

from sqlalchemy import update

from core.db import Database, db_now
from core.fleet.models import Worker
from core.fleet.service import largest_memory, live_slots, live_workers, retire
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
