"""No fork while another thread has a SQLite connection open. Knows no table.

SQLite keeps in the process's memory which locks it holds on a file. A child that was forked from
the midst of that believes to hold locks which the kernel has not given it: it reads torn pages
("database disk image is malformed"), and could write them. Celery forks at any time, when a child
of its pool has died.
"""

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST_SECONDS = 60
"""A fork waits no longer than this: more than twice as long as a connection waits for a lock."""


class Connections:
    """Counts the open ones by thread. A fork waits until no other thread has any; meanwhile a
    thread that has none opens none."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: Counter[int] = Counter()
        self._forking = False

    @contextmanager
    def one(self) -> Iterator[None]:
        opener = threading.get_ident()  # another thread may close it
        with self._changed:
            self._changed.wait_for(lambda: not self._forking or self._open[opener])
            self._open[opener] += 1
        try:
            yield
        finally:
            with self._changed:
                self._open[opener] -= 1
                self._changed.notify_all()

    def before_fork(self) -> None:
        self._changed.acquire()
        self._changed.wait_for(lambda: not self._forking)
        self._forking = True
        self._changed.wait_for(self._others_closed, timeout=LONGEST_SECONDS)

    def after_in_parent(self) -> None:
        self._forking = False
        self._changed.notify_all()
        self._changed.release()

    def after_in_child(self) -> None:
        """One thread is left, the one that forked; what the others held is gone with them."""
        mine = self._open[threading.get_ident()]
        self._changed = threading.Condition()
        self._open = Counter({threading.get_ident(): mine})
        self._forking = False

    def _others_closed(self) -> bool:
        return self._open.total() == self._open[threading.get_ident()]


CONNECTIONS = Connections()
os.register_at_fork(
    before=CONNECTIONS.before_fork,
    after_in_parent=CONNECTIONS.after_in_parent,
    after_in_child=CONNECTIONS.after_in_child,
)
