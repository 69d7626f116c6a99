"""Takes requests from Redis, answers them together, tells each client as it goes.

One turn is one step of the engine: what has come joins the others, what was said is told, each in
one call of Redis. Everything is done on one thread but the fetching of adapters.
"""

import logging
import time
from contextlib import suppress

from redis.exceptions import RedisError

from core.errors import InvalidInput, JobFailure, TuneyardError, Unavailable
from core.serving.exchange import Asked, Exchange
from core.serving.wire import Failed
from workers.ml.engine import Engine
from workers.ml.generation import Completion
from workers.serving.adapters import Adapters
from workers.serving.prompts import Prompts
from workers.serving.talks import Talks

log = logging.getLogger(__name__)

MOST_TAKEN = 128
"""Requests that it has at a time; others are left in the stream, where another server may take
them."""
PATIENCE_SECONDS = 0.5
"""How long a turn waits for a request if there is nothing to do."""
FETCH_SECONDS = 0.05
"""How long it waits for an adapter, having nothing else to do, before it looks for requests."""
REDIS_AWAY_SECONDS = 1.0

FULL = ("oom_gpu", "oom_host")
"""Classes of failures that say that memory did not suffice."""


class Server:
    """`turn` again and again answers what comes."""

    def __init__(
        self,
        exchange: Exchange,
        *,
        engine: Engine,
        prompts: Prompts,
        adapters: Adapters,
        talks: Talks,
    ) -> None:
        self.exchange = exchange
        self.engine = engine
        self.prompts = prompts
        self.adapters = adapters
        self.talks = talks
        self.parked: dict[str, Asked] = {}
        """Taken, but their adapter is not at hand."""

    @property
    def taken(self) -> int:
        """Requests that it has to answer."""
        return len(self.talks) + len(self.parked)

    def turn(self, *, taking: bool = True) -> None:
        try:
            if taking and self.taken < MOST_TAKEN:
                self._take()
            self._seat()
            self._tell(self._step())
        except RedisError as error:
            self._begin_anew(error, reopen=taking)

    def give_up(self, message: str) -> None:
        """Say of everything that was taken that nothing more will come."""
        with suppress(RedisError):  # else they see by themselves that the server is gone
            for request_id in (*self.talks.ids, *self.parked):
                self._refuse(request_id, Failed("platform", "server_stopping", message))

    def _take(self) -> None:
        patience = 0.0 if self.taken else PATIENCE_SECONDS
        for asked in self.exchange.take(MOST_TAKEN - self.taken, patience=patience):
            self.parked[asked.id] = asked

    def _seat(self) -> None:
        """Submit the requests whose adapter is at hand, the oldest first. Where one waits for room
        for its adapter, no younger one is seated on the adapter that has to go: it would never."""
        leaving: str | None = None
        for asked in [*self.parked.values()]:
            try:
                if asked.adapter is None or (
                    asked.adapter != leaving
                    and self.adapters.at_hand(asked.adapter, in_use=self.talks.adapters)
                ):
                    self._submit(asked)
                elif leaving is None:
                    leaving = self.adapters.in_the_way(asked.adapter)
            except (TuneyardError, JobFailure) as error:
                self._refuse(asked.id, failed(error))
        if self.parked and not len(self.talks):
            self.adapters.wait(FETCH_SECONDS)

    def _submit(self, asked: Asked) -> None:
        request, adapter = asked.request, asked.adapter
        at_hand = None if adapter is None else self.adapters.use(adapter)
        made = self.prompts.for_engine(asked.id, request, adapter, at_hand)
        self.engine.submit(made)
        whole = not request.stream or made.sampling.sql
        self.talks.begin(asked.id, request, adapter, whole=whole)
        del self.parked[asked.id]

    def _step(self) -> list[Completion]:
        if not self.engine.busy:
            return []
        try:
            return self.engine.step()
        except JobFailure as failure:
            if failure.klass not in FULL:
                raise
            # One alone was too much; the others are still answered.
            for request_id in self.engine.first_in_turn():
                self.engine.cancel(request_id)
                self._refuse(request_id, failed(failure))
            return []

    def _tell(self, completions: list[Completion]) -> None:
        """What each answer says next, and what ended; those whose client is gone are dropped."""
        said = self.talks.say(self.engine.unfinished(), completions)
        over = self.talks.take_over()
        for request_id in self.exchange.tell(said) - over:
            self.engine.cancel(request_id)
            self.talks.drop(request_id)

    def _refuse(self, request_id: str, failure: Failed) -> None:
        self.parked.pop(request_id, None)
        self.talks.drop(request_id)
        self.exchange.tell({request_id: [failure]})

    def _begin_anew(self, error: Exception, *, reopen: bool) -> None:
        """After a lost connection nobody knows what was heard: nothing of before is answered, and
        under another name who asked for it sees that. One that is going does not `reopen`."""
        log.warning("Redis is away: %s", error)
        self.engine.give_up()
        for request_id in (*self.talks.ids, *self.parked):
            self.talks.drop(request_id)
        self.parked.clear()
        time.sleep(REDIS_AWAY_SECONDS)
        if reopen:
            with suppress(RedisError):  # else the next turn comes back here
                self.exchange.open()


def failed(error: TuneyardError | JobFailure) -> Failed:
    """Whose fault it is that a request can't be answered."""
    if isinstance(error, JobFailure):
        if error.klass in FULL:
            return Failed("platform", "out_of_memory", error.message)
        fault = "request" if error.klass in ("config", "data", "user") else "platform"
        return Failed(fault, f"model_{error.klass}", error.message, param="model")
    if isinstance(error, Unavailable):
        return Failed("platform", error.code, error.message)
    if isinstance(error, InvalidInput):
        return Failed("request", error.code, error.message, error.param)
    message = f"The adapter is not to be had: {error.message}."
    return Failed("request", "model_not_found", message, param="model")
