"""The API on a port of this process, and a server that says what a test wants said.

The server is the real thing but for its model: it takes requests and tells events as `serve` does.
"""

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Self

import uvicorn

from api.app import create_app
from core.serving.connection import connect
from core.serving.exchange import Asked, Exchange
from core.serving.wire import Event

TINY = "models/tiny"
"""The address of the base model that tests of the API have."""

Say = Callable[[Asked], Iterable[Event]]


@contextmanager
def api_on_a_port() -> Iterator[str]:
    """Its base URL. For what a test client can't show: requests at once, a client that leaves."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as listening:
        server = uvicorn.Server(uvicorn.Config(create_app(), log_config=None))
        # Who connects before it has started is answered as soon as it has.
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = server.force_exit = True
            thread.join(30)


class Speaker:
    """A server of `tiny`. It says of each request what `say` yields, while somebody listens."""

    def __init__(self, say: Say, *, server: str = TINY) -> None:
        self._say = say
        self._exchange = Exchange(connect(), server=server)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.asked: list[Asked] = []
        self.left = threading.Event()
        """Set when a client has gone before it was told all."""

    def __enter__(self) -> Self:
        self._exchange.open()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._thread.join(30)
        self._exchange.close()

    def die(self) -> None:
        """End without a word; that it lives is not shown any more."""
        self._stopped.set()
        self._exchange.close()

    def tell(self, asked: Asked, events: Iterable[Event]) -> None:
        for event in events:
            if self._exchange.tell({asked.id: [event]}):
                self.left.set()
                return

    def _serve(self) -> None:
        while not self._stopped.is_set():
            for asked in self._exchange.take(8, patience=0.1):
                self.asked.append(asked)
                self.tell(asked, self._say(asked))
