"""Statements that take long hold each other up, and nobody else."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from api.routes import databases
from api.statements import AT_ONCE
from core.sql.runner import Outcome
from tests.api.conftest import make_key
from tests.api.served import api_on_a_port

MORE_THAN_THE_SHARED_THREADS = 60

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


class Slow:
    """In place of a sandbox: every statement takes until it is `over`."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.begun = threading.Semaphore(0)
        self.most = 0
        self._running: set[int] = set()

    @contextmanager
    def ask(self, database: object) -> Iterator[Any]:
        yield SimpleNamespace(run=self._run)

    def _run(self, sql: str) -> Outcome:
        self._running.add(threading.get_ident())
        self.most = max(self.most, len(self._running))
        self.begun.release()
        assert self.over.wait(60)
        self._running.discard(threading.get_ident())
        return Outcome(["a"], [(1,)])


@pytest.fixture
def call(data_dir: Path, tmp_path: Path) -> Iterator[Callable[..., httpx.Response]]:
    """A request of its own to the API on a port."""
    headers = {"authorization": f"Bearer {make_key('ours', 'admin')}"}
    with api_on_a_port() as url:

        def call(method: str, path: str, **given: Any) -> httpx.Response:
            return httpx.request(
                method, url + path, headers=headers, timeout=60, trust_env=False, **given
            )

        yield call


def test_many_slow_statements_at_once_leave_the_api_free(
    call: Callable[..., httpx.Response], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shop.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a)")
    made = call("POST", "/v1/databases", data={"name": "shop"}, files={"file": path.open("rb")})
    assert made.status_code == 201, made.text
    slow = Slow()
    monkeypatch.setattr(databases, "ask", slow.ask)

    def query(_: int) -> int:
        return call("POST", "/v1/databases/shop/query", json={"sql": "SELECT 1"}).status_code

    with ThreadPoolExecutor(MORE_THAN_THE_SHARED_THREADS) as pool:
        try:
            asked = [pool.submit(query, place) for place in range(MORE_THAN_THE_SHARED_THREADS)]
            for _ in range(AT_ONCE):
                assert slow.begun.acquire(timeout=60)
            # None is over yet: another request waits for none of them.
            assert call("GET", "/v1/databases/shop").status_code == 200
            assert not any(one.done() for one in asked)
        finally:
            slow.over.set()
        assert [one.result() for one in asked] == [200] * MORE_THAN_THE_SHARED_THREADS
    assert slow.most == AT_ONCE
