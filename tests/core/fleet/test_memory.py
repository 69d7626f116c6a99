"""What did not fit a kind of device is not tried again there, until as much has fitted."""

from sqlalchemy import select, update

from core.db import Database, db_now
from core.fleet.memory import KEPT_SECONDS, ceiling, learn
from core.fleet.models import MemoryLesson, Worker
from tests.core.jobs.jobs import add_worker

KIND = {"base_model": "tiny", "quantization": "8bit"}


def add(session, worker: str, need: int, *, fitted: bool, **kind: str) -> None:
    lesson = {"tokens": 100, "labels": 50, "need_bytes": need, "fitted": fitted, "peak_bytes": 1}
    learn(session, worker, **KIND | kind, **lesson)


def test_the_smallest_need_that_did_not_fit_is_the_ceiling(database: Database) -> None:
    with database.transaction() as session:
        add_worker(session, "gpu0@a")
        assert ceiling(session, "gpu0@a", **KIND) is None
        add(session, "gpu0@a", 100, fitted=True)
        assert ceiling(session, "gpu0@a", **KIND) is None
        add(session, "gpu0@a", 300, fitted=False)
        add(session, "gpu0@a", 200, fitted=False)
        assert ceiling(session, "gpu0@a", **KIND) == 200
        add(session, "gpu0@a", 250, fitted=True)
        assert ceiling(session, "gpu0@a", **KIND) == 300


def test_it_holds_for_the_same_kind_of_device_and_model_alone(database: Database) -> None:
    with database.transaction() as session:
        add_worker(session, "gpu0@a")
        add_worker(session, "gpu0@b")
        add_worker(session, "gpu0@c")
        session.execute(update(Worker).where(Worker.id == "gpu0@c").values(memory_bytes=1))
        add(session, "gpu0@a", 200, fitted=False)
        assert ceiling(session, "gpu0@b", **KIND) == 200
        assert ceiling(session, "gpu0@c", **KIND) is None
        assert ceiling(session, "gpu0@b", **KIND | {"quantization": "none"}) is None
        assert ceiling(session, "gpu0@b", **KIND | {"base_model": "large"}) is None
        assert ceiling(session, None, **KIND) is None
        assert ceiling(session, "nobody", **KIND) is None


def test_old_lessons_are_forgotten(database: Database) -> None:
    with database.transaction() as session:
        add_worker(session, "gpu0@a")
        add(session, "gpu0@a", 200, fitted=False)
        session.execute(update(MemoryLesson).values(created_at=db_now() - KEPT_SECONDS - 1))
        assert ceiling(session, "gpu0@a", **KIND) is None
        add(session, "gpu0@a", 300, fitted=False)
        assert session.scalars(select(MemoryLesson.need_bytes)).all() == [300]
