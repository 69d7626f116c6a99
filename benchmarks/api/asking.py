"""Contestant: so many clients, each on a connection of its own, asking as fast as it is answered.

Told as JSON: port, key, method, path, body, clients, requests (a turn, of all clients together).
The standard library's client: one that takes as long as the server would measure itself.
"""

import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any

from benchmarks.peers.turns import Turns


class Client:
    """One connection a turn."""

    def __init__(self, told: dict[str, Any]) -> None:
        self._connection = HTTPConnection("127.0.0.1", told["port"], timeout=60)
        self._request = told["method"], told["path"]
        self._body = json.dumps(told["body"]).encode() if told["body"] is not None else None
        self._headers = {
            "authorization": f"Bearer {told['key']}",
            "content-type": "application/json",
        }

    def ask(self, times: int) -> list[float]:
        """Seconds of each, on one connection; whatever is no success ends the contest."""
        try:
            return [self._once() for _ in range(times)]
        finally:
            self._connection.close()  # while others have their turn the server would

    def _once(self) -> float:
        begun = time.perf_counter()
        self._connection.request(*self._request, body=self._body, headers=self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"HTTP {answer.status}: {text[:300]!r}")
        return time.perf_counter() - begun


def main() -> None:
    turns = Turns()
    told = json.loads(sys.argv[1])
    clients = [Client(told) for _ in range(told["clients"])]
    share = told["requests"] // len(clients)
    turns.ready("fastapi", "uvicorn", "sqlalchemy", "pydantic")
    with ThreadPoolExecutor(len(clients)) as pool:
        while turns.wait():
            begun = time.perf_counter()
            seconds = [one for some in pool.map(lambda c: c.ask(share), clients) for one in some]
            turns.answer(
                requests_per_second=len(seconds) / (time.perf_counter() - begun),
                median_seconds=statistics.median(seconds),
            )


if __name__ == "__main__":
    main()
