"""Statements that take long, and hosts that let one wait, hold each other up, and nobody else."""

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

from api.openai import webhook_endpoints
from api.routes import databases
from api.turns import CONTACTS, STATEMENTS
from core.sql.runner import Outcome
from core.webhooks.sending import Unsent
from tests.api.conftest import make_key
from tests.api.served import api_on_a_port

MORE_THAN_THE_SHARED_THREADS = 60

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


class Slow:
    """What takes until it is `over`."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.begun = threading.Semaphore(0)
        self.most = 0
        self._running: set[int] = set()

    def wait(self) -> None:
        self._running.add(threading.get_ident())
        self.most = max(self.most, len(self._running))
        self.begun.release()
        assert self.over.wait(60)
        self._running.discard(threading.get_ident())

    @contextmanager
    def ask(self, database: object) -> Iterator[Any]:
        """In place of a sandbox."""
        yield SimpleNamespace(run=self._run)

    def _run(self, sql: str) -> Outcome:
        self.wait()
        return Outcome(["a"], [(1,)])

    def unreachable(self, *args: object, **named: object) -> None:
        """In place of a host that accepts and says nothing."""
        self.wait()
        raise Unsent("no answer")


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

    assert set(ask_while_another_does(call, slow, query, at_once=STATEMENTS)) == {200}


def test_many_hosts_that_let_one_wait_leave_the_api_free(
    call: Callable[..., httpx.Response], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow()
    monkeypatch.setattr(databases.service, "inspect_dsn", slow.unreachable)
    monkeypatch.setattr(databases.service, "require_dsn", lambda database: "dsn")
    monkeypatch.setattr(databases, "_find", lambda project_id, reference: None)
    monkeypatch.setattr(webhook_endpoints, "send", slow.unreachable)
    hook = {"name": "h", "url": "https://example.com/h", "event_types": ["batch.failed"]}
    path = f"/v1/webhook_endpoints/{call('POST', '/v1/webhook_endpoints', json=hook).json()['id']}"

    def contact(place: int) -> int:
        if place % 3 == 0:
            body = {"name": f"db{place}", "dsn": "postgresql://reader:secret@example.com/shop"}
            return call("POST", "/v1/databases", json=body).status_code
        if place % 3 == 1:
            return call("POST", "/v1/databases/shop/refresh").status_code
        return call("POST", f"{path}/test", json={"event_type": "batch.failed"}).status_code

    answers = ask_while_another_does(call, slow, contact, at_once=CONTACTS)
    assert answers == [500, 500, 400] * (MORE_THAN_THE_SHARED_THREADS // 3)


def ask_while_another_does(
    call: Callable[..., httpx.Response], slow: Slow, one: Callable[[int], int], *, at_once: int
) -> list[int]:
    with ThreadPoolExecutor(MORE_THAN_THE_SHARED_THREADS) as pool:
        try:
            asked = [pool.submit(one, place) for place in range(MORE_THAN_THE_SHARED_THREADS)]
            for _ in range(at_once):
                assert slow.begun.acquire(timeout=60)
            # None is over yet: another request waits for none of them.
            assert call("GET", "/v1/jobs").status_code == 200
            assert not any(one.done() for one in asked)
        finally:
            slow.over.set()
        answers = [one.result() for one in asked]
    assert slow.most == at_once
    return answers
