"""Serves a model: takes requests from Redis, answers them together, tells each client as it goes.

One turn of `Server` is one step of the engine: what has come joins, what was said is told, all in
two calls of Redis. Adapters are brought from the storage beside it. A server ends when it is told
to, when it has made room for jobs that wait, or when nobody has asked for long.
"""

import hashlib
import logging
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from redis.exceptions import RedisError

from core.errors import InvalidInput, JobFailure, TuneyardError, Unavailable
from core.serving.connection import connect
from core.serving.exchange import Asked, Exchange
from core.serving.wire import End, Event, Failed, Sql, Text, Usage
from core.settings import get_settings
from core.storage import get_storage
from workers.context import Stopped
from workers.ml.answering import load_model
from workers.ml.engine import Engine
from workers.ml.generation import Completion
from workers.ml.shelf import Shelf
from workers.ml.voice import Voice
from workers.recipes.asking import Asking
from workers.transfer import storage_failure

log = logging.getLogger(__name__)

MOST_TAKEN = 128
"""Requests that it has at a time; others are left in the stream, where another server may take
them."""
PATIENCE_SECONDS = 0.5
"""How long it waits for a request before it looks whether it is to stop."""
FETCH_SECONDS = 0.05
"""How long it waits for an adapter, having nothing else to do, before it looks for requests."""
REDIS_AWAY_SECONDS = 1.0
REPORT_SECONDS = 1.0
ROW_SECONDS = 60.0
"""How often it is written down for good what it has done: a server that works is not given up for
deaths that lie far apart."""


def run(ctx) -> dict[str, int]:
    """Returns what it has done, once nobody has asked for `max_idle_seconds`."""
    params = ctx.params
    loaded = load_model(
        ctx.inputs,
        quantization=params["quantization"],
        precision=params["precision"],
        device=ctx.device,
    )
    ctx.check()
    server = Server(ctx, loaded, Exchange(connect(), server=params["address"]))
    try:
        server.open()
        ctx.event("The server takes requests.", quantization=loaded.quantization)
        reason = server.work()
    finally:
        server.close()
    if reason != "idle":
        raise Stopped(reason)
    return asdict(server.done)


@dataclass
class Done:
    """What a server has done in all its attempts."""

    requests: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass
class Talk:
    """A request that is being answered."""

    adapter: str | None
    voices: list[Voice]
    left: int
    usage: Usage = field(default_factory=lambda: Usage(0, 0))


class Server:
    """Everything on one thread but the fetching of adapters."""

    def __init__(self, ctx, loaded, exchange: Exchange) -> None:
        self.ctx = ctx
        self.exchange = exchange
        self.engine = Engine(loaded)
        self.shelf = Shelf(self.engine, most=ctx.params["max_adapters"])
        self.asking = Asking(loaded.tokenizer, ctx.inputs["model"])
        self.done = next((Done(**row) for _, row in ctx.previous_rows()), Done())
        self.talks: dict[str, Talk] = {}
        self.parked: dict[str, Asked] = {}
        self.fetched: dict[str, Future[Path]] = {}
        self.pool = ThreadPoolExecutor(2, "fetch-adapter")
        self._asked_last = self._reported_at = time.monotonic()
        self._reported = (0, 0)
        self._written = float("-inf")

    # -- until it ends ---------------------------------------------------------------------------

    def open(self) -> None:
        try:
            self.exchange.open()
        except RedisError as error:
            message = f"Redis, which carries requests, does not answer: {error}."
            raise JobFailure("infra", message) from error

    def work(self) -> str:
        """Answers until there is a reason to stop, and then what it has begun; the reason."""
        while (reason := self._reason()) is None:
            self._turn(taking=True)
        self._finish()
        return reason

    def close(self) -> None:
        self.exchange.close()
        self.pool.shutdown(wait=False, cancel_futures=True)

    @property
    def busy(self) -> bool:
        return bool(self.talks or self.parked)

    def _reason(self) -> str | None:
        if (asked := self.ctx.stop_requested()) is not None:
            return asked
        now, params = time.monotonic(), self.ctx.params
        if self.busy:
            self._asked_last = now
        idle = now - self._asked_last
        patience = {"always": 0.0, "idle": params["idle_seconds"], "never": float("inf")}
        if self.ctx.others_wait and idle >= patience[params["yield_policy"]]:
            return "yield"
        if params["max_idle_seconds"] is not None and idle >= params["max_idle_seconds"]:
            return "idle"
        return None

    def _finish(self) -> None:
        """Answer what was taken, as long as half of the grace lasts; of the rest it is said that
        nothing more will come. What was not taken is left to the next server."""
        self.exchange.leave()
        deadline = time.monotonic() + get_settings().stop_grace_seconds / 2
        while self.busy and time.monotonic() < deadline:
            self._turn(taking=False)
        message = "The server is being stopped; ask again, another one will answer."
        with suppress(RedisError):  # then they see that it is gone
            for request_id in (*self.talks, *self.parked):
                self._refuse(request_id, Failed("platform", "server_stopping", message))
        self._write_down()

    # -- one turn --------------------------------------------------------------------------------

    def _turn(self, *, taking: bool) -> None:
        try:
            if taking:
                self._take()
            self._seat()
            self._tell(self._step())
        except RedisError as error:
            self._begin_anew(error)
        self._report()

    def _take(self) -> None:
        room = MOST_TAKEN - len(self.talks) - len(self.parked)
        if room <= 0:
            return
        patience = 0.0 if self.busy else PATIENCE_SECONDS
        for asked in self.exchange.take(room, patience=patience):
            self.parked[asked.id] = asked

    def _seat(self) -> None:
        """Submit the requests whose adapter is there."""
        for asked in [*self.parked.values()]:
            try:
                if asked.adapter is None or self._at_hand(asked.adapter):
                    self._submit(self.parked.pop(asked.id))
            except (TuneyardError, JobFailure) as error:
                self._refuse(asked.id, _failure(error))
        if not self.talks and self.fetched:
            wait(self.fetched.values(), FETCH_SECONDS, return_when=FIRST_COMPLETED)

    def _at_hand(self, adapter: str) -> bool:
        """Whether the adapter is loaded; sees to it that it will be."""
        if adapter in self.shelf:
            return True
        fetching = self.fetched.get(adapter)
        if fetching is None:
            self.fetched[adapter] = self.pool.submit(self._fetch, adapter)
            return False
        in_use = {talk.adapter for talk in self.talks.values()}
        if not fetching.done() or not self.shelf.make_room(in_use=in_use):
            return False
        del self.fetched[adapter]
        self.shelf.put(adapter, fetching.result())
        return True

    def _fetch(self, adapter: str) -> Path:
        name = hashlib.sha256(adapter.encode()).hexdigest()
        try:
            return get_storage().fetch(adapter, self.ctx.workdir / "adapters" / name)
        except OSError as error:
            raise storage_failure(error) from error

    def _submit(self, asked: Asked) -> None:
        request, adapter = asked.request, asked.adapter
        folder = None if adapter is None else self.shelf.use(adapter)
        made = self.asking.for_engine(asked.id, request, adapter=adapter, folder=folder)
        if isinstance(request.prompt, Sql):
            beginning = self.asking.beginning(request.prompt, folder)
            self.engine.share_prefix(beginning, adapter=adapter)
        whole = not request.stream or made.sampling.sql
        voices = [
            Voice(self.asking.tokenizer, stop=request.stop, whole=whole) for _ in range(request.n)
        ]
        self.talks[asked.id] = Talk(adapter, voices, left=request.n)
        self.engine.submit(made)

    def _step(self) -> list[Completion]:
        if not self.engine.busy:
            return []
        try:
            return self.engine.step()
        except JobFailure as failure:
            if failure.klass not in ("oom_gpu", "oom_host"):
                raise
            # One alone was too much: the others are answered.
            for request_id in {one.id for one in self.engine.unfinished()}:
                self.engine.cancel(request_id)
                self._refuse(request_id, Failed("platform", "out_of_memory", failure.message))
            return []

    def _tell(self, completions: list[Completion]) -> None:
        """What each answer says next, and what ended; those whose client is gone are dropped."""
        said: dict[str, list[Event]] = {request_id: [] for request_id in self.talks}
        for one in self.engine.unfinished():
            if text := self.talks[one.id].voices[one.index].go_on(one.token_ids):
                said[one.id].append(Text(one.index, text))
        for completion in completions:
            said[completion.id] += self._ended(completion)
        over = {request_id for request_id in said if not self.talks[request_id].left}
        for request_id in self.exchange.tell(said) - over:
            self.engine.cancel(request_id)
            over.add(request_id)
            self.done.failed += 1
        for request_id in over:
            del self.talks[request_id]

    def _ended(self, completion: Completion) -> list[Event]:
        talk = self.talks[completion.id]
        if completion.error is not None:
            talk.left = 0
            self.done.failed += 1
            return [Failed("request", "context_length_exceeded", completion.error)]
        rest = talk.voices[completion.index].end(completion.text)
        talk.left -= 1
        talk.usage = Usage(
            completion.prompt_tokens, talk.usage.completion_tokens + completion.completion_tokens
        )
        events: list[Event] = [End(completion.index, rest, completion.finish_reason)]
        if not talk.left:
            events.append(talk.usage)
            self.done.requests += 1
            self.done.prompt_tokens += talk.usage.prompt_tokens
            self.done.completion_tokens += talk.usage.completion_tokens
        return events

    def _refuse(self, request_id: str, failed: Failed) -> None:
        self.parked.pop(request_id, None)
        self.talks.pop(request_id, None)
        self.done.failed += 1
        self.exchange.tell({request_id: [failed]})

    def _begin_anew(self, error: Exception) -> None:
        """After a lost connection nobody knows what was heard: nothing of before is answered, and
        under another name who asked for it sees that."""
        log.warning("Redis is away: %s", error)
        self.done.failed += len(self.talks) + len(self.parked)
        self.engine.give_up()
        self.talks.clear()
        self.parked.clear()
        time.sleep(REDIS_AWAY_SECONDS)
        with suppress(RedisError):  # then the next turn comes back here
            self.exchange.open()

    # -- what is kept of it ----------------------------------------------------------------------

    def _report(self) -> None:
        """At most once a second, and only what is new: an idle server writes nothing."""
        ended = self.done.requests + self.done.failed
        state = ended, ended + len(self.talks) + len(self.parked)
        now = time.monotonic()
        if state == self._reported or now - self._reported_at < REPORT_SECONDS:
            return
        self._reported, self._reported_at = state, now
        self.ctx.progress(*state, **asdict(self.done))
        if ended and now - self._written > ROW_SECONDS:
            self._write_down()

    def _write_down(self) -> None:
        self._written = time.monotonic()
        self.ctx.row(0, asdict(self.done))


def _failure(error: TuneyardError | JobFailure) -> Failed:
    """Whose fault it is that a request can't be answered."""
    if isinstance(error, InvalidInput):
        return Failed("request", error.code, error.message)
    if isinstance(error, JobFailure):
        fault = "request" if error.klass in ("config", "data", "user") else "platform"
        return Failed(fault, f"model_{error.klass}", error.message)
    if isinstance(error, Unavailable):
        return Failed("platform", error.code, error.message)
    return Failed("request", "model_not_found", f"The adapter is not to be had: {error.message}.")
