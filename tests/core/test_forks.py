"""A process that forks while its threads use SQLite has children that can use it too."""

import os
import sys
import threading
import time
from pathlib import Path

from sqlalchemy import text

from core.db import Database

CHILDREN = 15


def write(database: Database, number: int) -> None:
    with database.transaction() as session:
        session.execute(text("INSERT INTO written VALUES (:number)"), {"number": number})


def child_writes(url: str) -> None:
    """What a new child of Celery's pool does; it never returns."""
    try:
        for _ in range(5):
            write(Database(url), 2)
    except BaseException as error:
        print(f"child: {error}", file=sys.stderr)
        os._exit(1)
    os._exit(0)


def exit_code(child: int, *, seconds: float = 60) -> int:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    raise AssertionError("a child hangs in a lock that it does not hold")


def test_a_child_forked_while_a_thread_writes_sees_a_sound_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    database = Database(url)
    with database.transaction() as session:
        session.execute(text("CREATE TABLE written (number INTEGER)"))
    done = threading.Event()

    def keep_writing() -> None:
        while not done.is_set():
            write(database, 1)
            time.sleep(0.002)  # SQLite is not fair: others want the lock, too

    writers = [threading.Thread(target=keep_writing) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(CHILDREN):
            child = os.fork()
            if child == 0:
                child_writes(url)
            assert exit_code(child) == 0
    finally:
        done.set()
        for writer in writers:
            writer.join()
    with database.reading() as session:
        assert session.scalar(text("PRAGMA integrity_check")) == "ok"
        counted = session.scalar(text("SELECT count(*) FROM written WHERE number = 2"))
    assert counted == 5 * CHILDREN
